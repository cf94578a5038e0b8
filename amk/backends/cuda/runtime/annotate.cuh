// Annotations: they tell compute-sanitizer's racecheck of the order that hand-overs within an SM make. It follows named
// barriers, mbarriers for the accesses of the very threads that arrive at them, and atomic accesses; it follows neither
// `__syncwarp` ahead of an arrival that one lane makes for its warp, nor what a word orders besides itself
// (benchmarks/NOTES.md). Compiled in only when AMK_ANNOTATE is set; then
//
//   - words are stored by atomic exchanges,
//   - every lane arrives where otherwise one does for its warp (LANES_FREE),
//   - and what a word orders is told by a *shadow*, an mbarrier that no thread waits at: those whose accesses the word
//     publishes arrive before it is written, and who has read it takes the shadow's latest phase, which is complete by then.
//
// Consumers publish a word behind a meeting of theirs: their shadow has a phase for each. A finisher's shadow has one for
// each report of its progress.

#if AMK_ANNOTATE
__device__ __forceinline__ u32 shadow(int i) { return shared(smem + SHADOWS) + i * 8; }

/// Run by one thread before the block's first barrier.
__device__ __forceinline__ void shadows_init() {
  for (int i = 0; i <= FINISHERS; i++)
    asm volatile("mbarrier.init.shared.b64 [%0],%1;" ::"r"(shadow(i)), "r"(i == 0 ? THREADS : 32));
}

__device__ __forceinline__ void shadow_arrive(int i) {
  asm volatile("mbarrier.arrive.shared.b64 _,[%0];" ::"r"(shadow(i)) : "memory");
}

__device__ __forceinline__ bool shadow_test(int i, u32 parity) {
  u32 done;
  asm volatile("{.reg .pred p; mbarrier.test_wait.parity.shared.b64 p,[%1],%2; selp.u32 %0,1,0,p;}"
               : "=r"(done)
               : "r"(shadow(i)), "r"(parity)
               : "memory");
  return done != 0;
}

/// Waits for nothing: of two parities one is that of the latest phase that is complete.
__device__ __forceinline__ void shadow_take(int i) {
  while (!shadow_test(i, 0) && !shadow_test(i, 1)) {
  }
}

#define AMK_CONSUMERS_LEAVE() shadow_arrive(0)
#define AMK_TAKE_CONSUMERS() shadow_take(0)
#define AMK_FINISHER_LEAVES(i) shadow_arrive(1 + (i))
#define AMK_TAKE_FINISHER(i) shadow_take(1 + (i))
#else
#define AMK_CONSUMERS_LEAVE()
#define AMK_TAKE_CONSUMERS()
#define AMK_FINISHER_LEAVES(i)
#define AMK_TAKE_FINISHER(i)
#endif

constexpr int LANES_FREE = AMK_ANNOTATE ? 32 : 1;  ///< lanes of a warp that arrive where it frees a slot or a buffer
