// What overtakes loads: a warp loads to registers, hands the place over before the loads have returned, and somebody
// overwrites it. One kernel a form; the numbers are lanes' loads that returned what was written later.
//
//     nvcc -std=c++17 -O3 -gencode arch=compute_90a,code=sm_90a -o overtakes benchmarks/overtakes.cu && ./overtakes
//
// Forms that use the values ahead of the hand-over (USED) must print 0, the others say what has to be. What came of it:
// NOTES.md.
#include <cstdio>
#include <cuda_runtime.h>
using u32 = unsigned;
using u64 = unsigned long long;

constexpr int READERS = 8, LOADS = 32, NUMBERS = 4, BYTES = READERS * LOADS * 32 * 4, ROUNDS = 4000;
constexpr int FULL = BYTES, EMPTY = BYTES + 8, WORDS = BYTES + 64, SMEM = BYTES + 128;
extern __shared__ __align__(1024) unsigned char smem[];

enum Handover { ARRIVAL, BARRIER, WORD };
enum Overwriter { COPY, FENCED_COPY, STORES };

__device__ __forceinline__ u32 shared(int at) { return (u32)__cvta_generic_to_shared(smem) + at; }

__device__ __forceinline__ void wait(u32 barrier, u32 parity) {
  for (u32 done = 0; !done;)
    asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared.b64 p,[%1],%2; selp.u32 %0,1,0,p;}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
}

/// A register of its own: were it written again, the loads would first have to be served.
__device__ __forceinline__ u32 pinned(u32 x) {
  asm volatile("" : "+r"(x));
  return x;
}

__device__ __forceinline__ void meet() { asm volatile("bar.sync 1, %0;" ::"n"(READERS * 32 + 32) : "memory"); }

/// Shared memory: 8 warps read all of it, by loads of which every one takes 32 cycles, then it is filled with the number
/// of the next round modulo NUMBERS. BEHIND: each warp has just asked for 256 lines of global memory.
template <Handover H, Overwriter O, bool USED, bool BEHIND>
__global__ void __launch_bounds__(READERS * 32 + 32) within(const u32* source, const uint4* far, u32 none, u64* wrong) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int i = threadIdx.x; i < BYTES / 4; i += blockDim.x) reinterpret_cast<u32*>(smem)[i] = 0;
  if (threadIdx.x < READERS) reinterpret_cast<u32*>(smem + WORDS)[threadIdx.x] = 0;
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared.b64 [%0],1;" ::"r"(shared(FULL)));
    asm volatile("mbarrier.init.shared.b64 [%0],%1;" ::"r"(shared(EMPTY)), "n"(READERS));
    asm volatile("fence.mbarrier_init.release.cluster;");
  }
  __syncthreads();
  u64 late = 0;
  for (u32 round = 0; round < ROUNDS; round++) {
    if (warp < READERS) {
      if (round) O == STORES ? meet() : wait(shared(FULL), round + 1 & 1);
      const u32 want = pinned(round % NUMBERS), from = pinned(shared((lane * READERS + warp) * LOADS * 4));
      u32 v[LOADS], used = 0;
      uint4 w[8];
      if (BEHIND) {
#pragma unroll
        for (int i = 0; i < 8; i++)
          asm volatile("ld.relaxed.gpu.global.v4.u32 {%0,%1,%2,%3},[%4];"
                       : "=r"(w[i].x), "=r"(w[i].y), "=r"(w[i].z), "=r"(w[i].w)
                       : "l"(far + ((blockIdx.x * READERS + warp) * 8 + i) * 256 + lane * 8));
      }
#pragma unroll
      for (int i = 0; i < LOADS; i++)
        asm volatile("ld.shared.u32 %0,[%1];" : "=r"(v[i]) : "r"(from + i * 4) : "memory");
      if (USED) {
#pragma unroll
        for (int i = 0; i < LOADS; i++) used |= v[i];
        used = __any_sync(~0u, used & none);
      }
      if (H == BARRIER) {
        if (used) asm volatile("st.shared.u32 [%0],%1;" ::"r"(shared(WORDS)), "r"(used) : "memory");
        meet();
      } else {
        __syncwarp();
        if (H == ARRIVAL && lane == 0) asm volatile("mbarrier.arrive.shared.b64 _,[%0];" ::"r"(shared(EMPTY) + used) : "memory");
        if (H == WORD && lane == 0)
          asm volatile("st.relaxed.cta.shared.u32 [%0],%1;" ::"r"(shared(WORDS) + warp * 4 + used), "r"(round + 1) : "memory");
      }
#pragma unroll
      for (int i = 0; i < LOADS; i++) late += v[i] != want;
      if (BEHIND) {
#pragma unroll
        for (int i = 0; i < 8; i++) late += (w[i].x | w[i].y | w[i].z | w[i].w) != 0;
      }
      asm volatile("" ::"r"(from));
    } else {
      if (H == ARRIVAL) wait(shared(EMPTY), round & 1);
      if (H == BARRIER) meet();
      if (H == WORD) {
        u32 seen;
        do asm volatile("ld.relaxed.cta.shared.u32 %0,[%1];" : "=r"(seen) : "r"(shared(WORDS) + lane % READERS * 4) : "memory");
        while (!__all_sync(~0u, seen == round + 1));
      }
      if (O == STORES) {
        for (int i = lane; i < BYTES / 4; i += 32) asm volatile("st.shared.u32 [%0],%1;" ::"r"(shared(i * 4)), "r"((round + 1) % NUMBERS) : "memory");
        if (round + 1 < ROUNDS) meet();
      } else if (lane == 0) {
        if (O == FENCED_COPY) asm volatile("fence.proxy.async;" ::: "memory");
        asm volatile("mbarrier.arrive.expect_tx.shared.b64 _,[%0],%1;" ::"r"(shared(FULL)), "n"(BYTES) : "memory");
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(shared(0)),
                     "l"(source + (round + 1) % NUMBERS * (BYTES / 4)), "n"(BYTES), "r"(shared(FULL))
                     : "memory");
        if (round + 1 == ROUNDS) wait(shared(FULL), round & 1);
      }
      __syncwarp();
    }
  }
  if (late) atomicAdd(wrong, late);
}

/// Global memory: a warp of one SM loads from lines that are in no cache and meets another warp, which tells a second SM;
/// that one writes there. The other warps of both keep the memory busy.
template <bool USED>
__global__ void __launch_bounds__(256) between(u32* places, u32* flags, const uint4* other, u64 others, u32 none, u64* wrong) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, pair = blockIdx.x / 2;
  constexpr int TURNS = 400, APART = 512;
  __shared__ volatile u32 over;
  if (threadIdx.x == 0) over = 0;
  __syncthreads();
  u32* flag = flags + pair * 32;
  u64 late = 0;
  if (warp >= 2) {
    u32 x = 0;
    for (u64 i = (u64)blockIdx.x * 192 + threadIdx.x; !over; i = (i + 192 * 132) % others) x ^= other[i].x;
    if (x == 12345) atomicAdd(wrong, 1);
    return;
  }
  for (u32 turn = 0; turn < TURNS; turn++) {
    u32* place = places + ((u64)(pair * TURNS + turn) * 32 + lane) * APART;
    if (blockIdx.x % 2 == 0) {
      u32 v = 0;
      if (warp == 0) asm volatile("ld.relaxed.gpu.global.u32 %0,[%1];" : "=r"(v) : "l"(place) : "memory");
      if (USED && (v & none)) over = 1;
      asm volatile("bar.sync 2, 64;" ::: "memory");
      if (warp == 1 && lane == 0) asm volatile("st.relaxed.gpu.global.u32 [%0],%1;" ::"l"(flag), "r"(turn + 1) : "memory");
      late += v != 0;
      asm volatile("bar.sync 2, 64;" ::: "memory");
    } else if (warp == 0) {
      u32 seen;
      do asm volatile("ld.relaxed.gpu.global.u32 %0,[%1];" : "=r"(seen) : "l"(flag) : "memory");
      while (!__all_sync(~0u, seen > turn));
      asm volatile("st.relaxed.gpu.global.u32 [%0],%1;" ::"l"(place), "r"(1) : "memory");
    }
  }
  if (late) atomicAdd(wrong, late);
  __syncwarp();
  if (warp == 0 && lane == 0) over = 1;
}

static u64* wrong;

static void report(const char* name, u64 of) {
  const cudaError_t error = cudaDeviceSynchronize();
  u64 n = 0;
  cudaMemcpy(&n, wrong, 8, cudaMemcpyDeviceToHost);
  cudaMemset(wrong, 0, 8);
  printf("%-62s %9llu of %llu  %s\n", name, n, of, error ? cudaGetErrorString(error) : "");
}

template <Handover H, Overwriter O, bool USED = false, bool BEHIND = false>
static void one(const char* name, const u32* source, const uint4* far) {
  constexpr int SMS = 64;
  cudaFuncSetAttribute(within<H, O, USED, BEHIND>, cudaFuncAttributeMaxDynamicSharedMemorySize, SMEM);
  within<H, O, USED, BEHIND><<<SMS, READERS * 32 + 32, SMEM>>>(source, far, 0, wrong);
  report(name, (u64)SMS * ROUNDS * READERS * 32 * LOADS);
}

__global__ void numbers(u32* source) {
  for (int i = threadIdx.x; i < BYTES / 4; i += blockDim.x) source[blockIdx.x * (BYTES / 4) + i] = blockIdx.x;
}

int main() {
  u32 *source, *places, *flags;
  constexpr u64 PLACES = 66ull * 400 * 32 * 512 * 4, OTHER = 1ull << 30;
  uint4* other;
  cudaMalloc(&wrong, 8), cudaMemset(wrong, 0, 8);
  cudaMalloc(&source, NUMBERS * BYTES);
  cudaMalloc(&places, PLACES), cudaMalloc(&flags, 66 * 128), cudaMalloc(&other, OTHER), cudaMemset(other, 0, OTHER);
  numbers<<<NUMBERS, 256>>>(source);
  one<ARRIVAL, COPY>("shared: arrival, bulk copy", source, other);
  one<ARRIVAL, COPY, true>("shared: values used, arrival, bulk copy", source, other);
  one<ARRIVAL, COPY, false, true>("shared: arrival, bulk copy; behind loads of global memory", source, other);
  one<ARRIVAL, COPY, true, true>("shared: values used, the same", source, other);
  one<BARRIER, COPY>("shared: barrier, bulk copy", source, other);
  one<BARRIER, FENCED_COPY>("shared: barrier, proxy fence, bulk copy", source, other);
  one<BARRIER, COPY, true>("shared: values used, barrier, bulk copy", source, other);
  one<WORD, COPY>("shared: word, bulk copy", source, other);
  one<WORD, FENCED_COPY>("shared: word, proxy fence, bulk copy", source, other);
  one<WORD, COPY, true>("shared: values used, word, bulk copy", source, other);
  one<BARRIER, STORES>("shared: barrier, stores of another warp", source, other);
  one<WORD, STORES>("shared: word, stores of another warp", source, other);
  for (int used = 0; used < 2; used++) {
    cudaMemset(places, 0, PLACES), cudaMemset(flags, 0, 66 * 128);
    if (used)
      between<true><<<132, 256>>>(places, flags, other, OTHER / 16, 0, wrong);
    else
      between<false><<<132, 256>>>(places, flags, other, OTHER / 16, 0, wrong);
    report(used ? "global: values used, barrier, word, stores of another SM" : "global: barrier, word, stores of another SM",
           66ull * 400 * 32);
  }
}
