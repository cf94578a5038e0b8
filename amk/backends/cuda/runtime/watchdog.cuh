// The watchdog: a wait for global memory gives up after `patience` polls.
//
// Who gives up writes a report (what was awaited, where) and marks its block. From then on no wait of the block waits
// any longer: the block runs on, with wrong values, to the end of its step, where it leaves. So every barrier still
// meets and the context survives. Polls count, not cycles: the loop that everybody runs stays a few instructions long.

[[maybe_unused]] constexpr u32 UNWATCHED = 16;  ///< polls of flagged operands from one look at the watchdog to the next

enum Waiting { ON_WORD, ON_COUNTER, ON_TOKEN };

/// Called after each failed poll; true when the wait is to be given up.
__device__ __forceinline__ bool give_up(const Cta& c, u32& polls, int kind, u32 where, u32 want) {
  volatile int* gone = reinterpret_cast<volatile int*>(smem + GONE);
  if (*gone) return true;
  if (++polls < c.a.patience) return false;
  *gone = 1;
  reinterpret_cast<uint4*>(c.a.report)[c.sm] =
      make_uint4(1u | kind << 1 | (u32)(c.index + 1) << 3, c.turn - c.a.turn, where, want);
  return true;
}

/// Number of a flagged word.
__device__ __forceinline__ u32 word_number(const Cta& c, const void* p) {
  return (u32)((static_cast<const unsigned char*>(p) - c.a.words) >> 3);
}
