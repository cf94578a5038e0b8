// How the warps of an SM meet, and the words by which they tell each other how far they are.

/// All consumer warps meet. Loads that are under way are not waited for: who will let a bulk copy or another SM overwrite
/// what was read must have used it before (`use`).
__device__ __forceinline__ void meet() {
  AMK_CONSUMERS_LEAVE();
  asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory");
}

/// All finisher warps meet.
__device__ __forceinline__ void meet_finishers() { asm volatile("bar.sync 2, %0;" ::"n"(FINISHERS * 32) : "memory"); }

/// Consumers and finishers meet, at the start and the end of a step. They come from different places in the code, which the
/// aligned form `bar.sync` does not allow.
__device__ __forceinline__ void meet_step() { asm volatile("barrier.sync 3, %0;" ::"n"(THREADS + FINISHERS * 32) : "memory"); }

/// Start of an instruction that shares the stage between warps.
__device__ __forceinline__ void enter(Cta& c) {
  if (c.apart) {
    meet();
    c.apart = false;
  }
}

/// A word in shared memory by which one role of the block tells another how far it has come. The words that carry
/// partial sums (reduce.cuh) and progress within a gemv are relaxed accesses: see (H7) of docs/IR_SPEC.md.
__device__ __forceinline__ void store_release(const volatile void* p, u32 x) {
#if AMK_ANNOTATE
  asm volatile("{.reg .b32 r; atom.release.cta.shared.exch.b32 r,[%0],%1;}" ::"r"(shared(const_cast<const void*>(p))), "r"(x)
               : "memory");
#else
  asm volatile("st.release.cta.shared.u32 [%0],%1;" ::"r"(shared(const_cast<const void*>(p))), "r"(x) : "memory");
#endif
}
__device__ __forceinline__ u32 load_acquire(const volatile void* p) {
  u32 x;
  asm volatile("ld.acquire.cta.shared.u32 %0,[%1];" : "=r"(x) : "r"(shared(const_cast<const void*>(p))) : "memory");
  return x;
}
__device__ __forceinline__ void store_relaxed(volatile u32* p, u32 x) {
#if AMK_ANNOTATE
  atomicExch(const_cast<u32*>(p), x);
#else
  *p = x;
#endif
}

/// Flags of the block: STOP, STEP and GONE.
__device__ __forceinline__ void set_flag(int at, u32 x) { store_relaxed(reinterpret_cast<volatile u32*>(smem + at), x); }
__device__ __forceinline__ int flag(int at) { return *reinterpret_cast<volatile int*>(smem + at); }
