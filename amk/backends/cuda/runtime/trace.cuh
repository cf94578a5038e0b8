// Time stamps: per instruction when it began, when its operands had arrived, and when warp 0 was done. Compiled in only
// when TRACE is set; then the buffer holds [SM][step][instruction][3] values of %globaltimer in nanoseconds.

#if TRACE
__device__ __forceinline__ u64 now() {
  u64 t;
  asm volatile("mov.u64 %0,%globaltimer;" : "=l"(t));
  return t;
}
__device__ __forceinline__ void stamp(const Cta& c, int what) {
  if (c.thread() == 0 && c.a.trace)
    c.a.trace[(((u64)c.sm * c.a.steps + (c.turn - c.a.turn)) * TRACED + c.index) * 3 + what] = now();
}
#define AMK_BEGIN(c) stamp(c, 0)
#define AMK_FRESH(c) stamp(c, 1)
#define AMK_END(c) stamp(c, 2)
#else
#define AMK_BEGIN(c)
#define AMK_FRESH(c)
#define AMK_END(c)
#endif
