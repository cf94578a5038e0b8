// The watchdog: a wait gives up after `patience` polls.
//
// Who gives up marks its block. From then on no wait of the block waits any longer: the block runs on, with wrong values,
// to the end of its step, where it leaves. So every barrier still meets and the context survives. Every warp leaves a
// report of the first wait that it did not see end (what was awaited, where): the launcher takes the one that comes first
// in the program, for the others wait for that one. Polls count, not cycles: the loop that everybody runs stays a few
// instructions long. The loader reports nothing: it waits for consumers only.
//
// A poll of global memory takes 400 ns or more, one of shared memory some 40 ns, one of an mbarrier as long as the hardware
// likes. Who waits within the block must not give up before those who wait for other SMs: SHORT polls of shared memory
// count as one, and so does a tick of 2 us at an mbarrier. Only one poll of shared memory in LOOK looks at the mark and
// the limit.

/// What a wait is for. Where two warps wait in one instruction, the other one's is likely to wait for the lower number.
enum Waiting { ON_WORD, ON_COUNTER, ON_TOKEN, ON_SLOT, ON_SQUARES, ON_SUMS, ON_STAGE, ON_ROOM, ON_ROWS, ON_FINISHERS };

constexpr u32 SHORT = 64, LOOK = 256;
[[maybe_unused]] constexpr u32 UNWATCHED = 16;  ///< polls of flagged operands from one look to the next

__device__ __forceinline__ bool block_gave_up() { return flag(GONE) != 0; }

/// Whether a wait that has taken `polls` polls is to be given up.
__device__ __forceinline__ bool expired(const Cta& c, u32 polls, int kind, u32 where, u32 want) {
  if (polls < c.a.patience && !block_gave_up()) return false;
  set_flag(GONE, 1);
  volatile u32* report = c.a.report + (blockIdx.x * REPORTS + threadIdx.x / 32) * 4;
  if (report[0] == 0) {  // word by word: this code must not need registers that those who wait have in use
    report[1] = c.pos - c.a.start;
    report[2] = where;
    report[3] = want;
    report[0] = 1u | kind << 1 | (u32)(c.index + 1) << 5;
  }
  return true;
}

/// The time in units of 2.048 us.
__device__ __forceinline__ u32 ticks() {
  u64 t;
  asm volatile("mov.u64 %0,%globaltimer;" : "=l"(t));
  return (u32)(t >> 11);
}

/// Called after each failed poll of global memory; true when the wait is to be given up.
__device__ __forceinline__ bool give_up(const Cta& c, u32& polls, int kind, u32 where, u32 want) {
  return expired(c, ++polls, kind, where, want);
}

/// The same after a failed poll of shared memory.
__device__ __forceinline__ bool give_up_near(const Cta& c, u32& polls, int kind, u32 where) {
  return ++polls % LOOK == 0 && expired(c, polls / SHORT, kind, where, 0);
}

/// The same by a whole warp, whose lanes must leave the loop together.
__device__ __forceinline__ bool give_up_together(const Cta& c, u32& polls, int kind, u32 where) {
  return ++polls % LOOK == 0 && __any_sync(ALL, expired(c, polls / SHORT, kind, where, 0));
}

/// Number of a flagged word.
__device__ __forceinline__ u32 word_number(const Cta& c, const void* p) {
  return (u32)((static_cast<const unsigned char*>(p) - c.a.words) >> 3);
}
