// Counters: waits before an instruction, signals after it (programs that synchronize plain buffers).
//
// Contract: a wait acquires at gpu scope and the block's barrier passes it on to every thread; a signal follows the
// block's barrier, so that one thread's release covers the writes of all; finishers that are still at earlier
// instructions are awaited first, for the release speaks of these too.
//
// Field SYNC is the place of a header {waits, signals, 0} in EVENTS, 0 for neither. The waits follow, {counter,
// threshold, arrivals of a step}, then the signals, {counter, amount, 0}.

__device__ __forceinline__ void counters_wait(const Cta& c) {
  const u32 at = c.field(SYNC), waits = EVENTS[at][0];
  if (waits == 0) return;
  for (u32 i = c.thread(); i < waits; i += THREADS) {
    const u32* e = EVENTS[at + 1 + i];
    const u32 want = e[1] + e[2] * c.turn;
    u32 have, polls = 0;
    do asm volatile("ld.acquire.gpu.global.u32 %0,[%1];" : "=r"(have) : "l"(c.a.counters + e[0]) : "memory");
    while ((int)(have - want) < 0 && !give_up(c, polls, ON_COUNTER, e[0], want));
  }
  meet();
}

__device__ __forceinline__ void counters_signal(Cta& c) {
  const u32 at = c.field(SYNC), waits = EVENTS[at][0], signals = EVENTS[at][1];
  if (signals == 0) return;
  finished(c);
  meet();
  for (u32 i = c.thread(); i < signals; i += THREADS) {
    const u32* e = EVENTS[at + 1 + waits + i];
    __threadfence();
    asm volatile("red.release.gpu.global.add.u32 [%0],%1;" ::"l"(c.a.counters + e[0]), "r"(e[1]) : "memory");
  }
}
