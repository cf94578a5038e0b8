// What racecheck can follow: hand-overs between two warps through shared memory, one kernel a form.
//
//     nvcc -std=c++17 -O3 -lineinfo -gencode arch=compute_90a,code=sm_90a -o handovers benchmarks/handovers.cu
//     compute-sanitizer --tool racecheck --print-limit 1000 ./handovers 16
//
// Warp 0 writes 32 numbers, warp 1 reads them in reverse order; two buffers in turn, so that room is handed back too.
// NONE has no order at all and must be reported. What came of it: NOTES.md.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cuda.h>
#include <cuda_runtime.h>
using u32 = unsigned; using u64 = unsigned long long;
__device__ __forceinline__ u32 sh(const void* p) { return (u32)__cvta_generic_to_shared(p); }
extern __shared__ __align__(1024) unsigned char smem[];
constexpr int R = 2;      // buffers
#define WORDS(p) (sh(smem) + 1024 + ((p) % R) * 1024)
#define DATA(p) (reinterpret_cast<float*>(smem + 1024 + ((p) % R) * 1024))
#define FULL(p) (sh(smem) + ((p) % R) * 8)
#define EMPTY(p) (sh(smem) + 64 + ((p) % R) * 8)
#define PROG (sh(smem) + 128)
#define FLAG (sh(smem) + 256)
__device__ __forceinline__ void init(u32 b, u32 n) { asm volatile("mbarrier.init.shared.b64 [%0],%1;" ::"r"(b), "r"(n)); }
__device__ __forceinline__ void arrive(u32 b) { asm volatile("mbarrier.arrive.shared.b64 _,[%0];" ::"r"(b) : "memory"); }
__device__ __forceinline__ void expect(u32 b, u32 n) { asm volatile("mbarrier.arrive.expect_tx.shared.b64 _,[%0],%1;" ::"r"(b), "r"(n) : "memory"); }
__device__ __forceinline__ bool test(u32 b, u32 parity) {
  u32 d;
  asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared.b64 p,[%1],%2; selp.u32 %0,1,0,p;}" : "=r"(d) : "r"(b), "r"(parity) : "memory");
  return d;
}
__device__ __forceinline__ void wait(u32 b, u32 parity) { while (!test(b, parity)) {} }
__device__ __forceinline__ u64 ld64(u32 a) { u64 v; asm volatile("ld.relaxed.cta.shared.u64 %0,[%1];" : "=l"(v) : "r"(a) : "memory"); return v; }
__device__ __forceinline__ u64 ldacq64(u32 a) { u64 v; asm volatile("ld.acquire.cta.shared.u64 %0,[%1];" : "=l"(v) : "r"(a) : "memory"); return v; }
__device__ __forceinline__ void st64(u32 a, u64 v) { asm volatile("st.relaxed.cta.shared.u64 [%0],%1;" ::"r"(a), "l"(v) : "memory"); }
__device__ __forceinline__ void strel64(u32 a, u64 v) { asm volatile("st.release.cta.shared.u64 [%0],%1;" ::"r"(a), "l"(v) : "memory"); }
__device__ __forceinline__ void exch64(u32 a, u64 v) { [[maybe_unused]] u64 o; asm volatile("atom.relaxed.cta.shared.exch.b64 %0,[%1],%2;" : "=l"(o) : "r"(a), "l"(v) : "memory"); }
__device__ __forceinline__ u64 cas64(u32 a) { u64 o; asm volatile("atom.relaxed.cta.shared.cas.b64 %0,[%1],%2,%2;" : "=l"(o) : "r"(a), "l"(~0ull) : "memory"); return o; }
__device__ __forceinline__ u32 ld32(u32 a) { u32 v; asm volatile("ld.relaxed.cta.shared.u32 %0,[%1];" : "=r"(v) : "r"(a) : "memory"); return v; }
__device__ __forceinline__ u32 ldacq32(u32 a) { u32 v; asm volatile("ld.acquire.cta.shared.u32 %0,[%1];" : "=r"(v) : "r"(a) : "memory"); return v; }
__device__ __forceinline__ void st32(u32 a, u32 v) { asm volatile("st.relaxed.cta.shared.u32 [%0],%1;" ::"r"(a), "r"(v) : "memory"); }
__device__ __forceinline__ void strel32(u32 a, u32 v) { asm volatile("st.release.cta.shared.u32 [%0],%1;" ::"r"(a), "r"(v) : "memory"); }
__device__ __forceinline__ void exch32(u32 a, u32 v) { [[maybe_unused]] u32 o; asm volatile("atom.relaxed.cta.shared.exch.b32 %0,[%1],%2;" : "=r"(o) : "r"(a), "r"(v) : "memory"); }
__device__ __forceinline__ u32 atadd32(u32 a) { u32 o; asm volatile("atom.acquire.cta.shared.add.u32 %0,[%1],0;" : "=r"(o) : "r"(a) : "memory"); return o; }
__device__ __forceinline__ void bulk(u32 to, const void* from, u32 n, u32 b) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(to), "l"(from), "r"(n), "r"(b) : "memory");
}

enum Form { NONE, WORDS_LD, EXCH_LD, ST_CAS, EXCH_CAS, REL_ACQ, VOLATILE, DATA_RELACQ, DATA_ATOMIC, MB_ALL, MB_ONE, BULK_ALL, BULK_ONE, BULK_LDM, BULK_CLUSTER, TENSOR, CPASYNC, NAMED, NAMED_BOTH, FORMS };
const char* NAMES[] = {"none", "words_ld", "exch_ld", "st_cas", "exch_cas", "rel_acq", "volatile", "data_relacq", "data_atomic", "mb_all", "mb_one", "bulk_all", "bulk_one", "bulk_ldm", "bulk_cluster", "tensor", "cpasync", "named", "named_both"};

template <int F>
__global__ void form(const float* in, float* out, u64* cycles, int rounds, const __grid_constant__ CUtensorMap map) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  constexpr bool one = F == MB_ONE || F == BULK_ONE;
  for (int i = threadIdx.x; i < 4096; i += blockDim.x) smem[i] = 0;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int i = 0; i < R; i++) {
      init(FULL(i), F == MB_ALL || F == CPASYNC ? 32 : 1);
      init(EMPTY(i), one ? 1 : 32);
    }
  asm volatile("fence.mbarrier_init.release.cluster;");
  __syncthreads();
  float sum = 0.f;
  const u64 began = clock64();
#pragma unroll 1
  for (int t = 0; t < rounds; t++) {
    const u32 parity = t / R & 1;
    const u64 tag = (u64)(t + 1) << 32;
    if (warp == 0) {  // producer
      float v = in[(t & 7) * 32 + lane];
      // room
      if constexpr (F == WORDS_LD || F == EXCH_LD || F == REL_ACQ || F == ST_CAS || F == VOLATILE || F == DATA_RELACQ) {
        if constexpr (F == VOLATILE) { while ((int)(t - *(volatile u32*)(smem + 128)) >= R) {} }
        else if constexpr (F == REL_ACQ || F == DATA_RELACQ) { while ((int)(t - ldacq32(PROG)) >= R) {} }
        else { while ((int)(t - ld32(PROG)) >= R) {} }
      } else if constexpr (F == EXCH_CAS || F == DATA_ATOMIC) {
        while ((int)(t - atadd32(PROG)) >= R) {}
      } else if constexpr (F == NAMED) {
        if (t >= R) asm volatile("barrier.sync %0,64;" ::"r"(3 + t % R) : "memory");
      } else if constexpr (F == NAMED_BOTH) {
      } else {
        if (t >= R) wait(EMPTY(t), parity ^ 1);
      }
      __syncwarp();
      if constexpr (F == NONE) DATA(t)[lane] = v;
      if constexpr (F == WORDS_LD || F == ST_CAS) st64(WORDS(t) + lane * 8, tag | __float_as_uint(v));
      if constexpr (F == EXCH_LD || F == EXCH_CAS) exch64(WORDS(t) + lane * 8, tag | __float_as_uint(v));
      if constexpr (F == REL_ACQ) strel64(WORDS(t) + lane * 8, tag | __float_as_uint(v));
      if constexpr (F == VOLATILE) *(volatile u64*)(smem + 1024 + t % R * 1024 + lane * 8) = tag | __float_as_uint(v);
      if constexpr (F == DATA_RELACQ) { DATA(t)[lane] = v; __syncwarp(); if (lane == 0) strel32(FLAG, t + 1); }
      if constexpr (F == DATA_ATOMIC) { DATA(t)[lane] = v; __syncwarp(); __threadfence_block(); if (lane == 0) exch32(FLAG, t + 1); }
      if constexpr (F == MB_ALL) { DATA(t)[lane] = v; arrive(FULL(t)); }
      if constexpr (F == MB_ONE) { DATA(t)[lane] = v; __syncwarp(); if (lane == 0) arrive(FULL(t)); }
      if constexpr (F == BULK_ALL || F == BULK_ONE || F == BULK_LDM || F == BULK_CLUSTER)
        if (lane == 0) { expect(FULL(t), 128); bulk(WORDS(t), in + (t & 7) * 32, 128, FULL(t)); }
      if constexpr (F == TENSOR)
        if (lane == 0) {
          expect(FULL(t), 128);
          asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0],[%1,{%2,%3}],[%4];" ::"r"(WORDS(t)), "l"(&map), "r"(0), "r"(t & 7), "r"(FULL(t)) : "memory");
        }
      if constexpr (F == CPASYNC) {
        asm volatile("cp.async.ca.shared.global [%0],[%1],4;" ::"r"(WORDS(t) + lane * 4), "l"(in + (t & 7) * 32 + lane) : "memory");
        asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(FULL(t)) : "memory");
      }
      if constexpr (F == NAMED) { DATA(t)[lane] = v; __threadfence_block(); asm volatile("barrier.arrive %0,64;" ::"r"(1 + t % R) : "memory"); }
      if constexpr (F == NAMED_BOTH) { DATA(t)[lane] = v; asm volatile("barrier.sync 1,64;" ::: "memory"); asm volatile("barrier.sync 2,64;" ::: "memory"); }
    } else {
      if constexpr (F == NONE) sum += DATA(t)[31 - lane];
      u64 w = 0;
      const u32 at = WORDS(t) + (31 - lane) * 8;
      if constexpr (F == WORDS_LD || F == EXCH_LD) { do w = ld64(at); while (__any_sync(~0u, (w >> 32) != t + 1)); }
      if constexpr (F == ST_CAS || F == EXCH_CAS) { do w = cas64(at); while (__any_sync(~0u, (w >> 32) != t + 1)); }
      if constexpr (F == REL_ACQ) { do w = ldacq64(at); while (__any_sync(~0u, (w >> 32) != t + 1)); }
      if constexpr (F == VOLATILE) { do w = *(volatile u64*)(smem + 1024 + t % R * 1024 + (31 - lane) * 8); while (__any_sync(~0u, (w >> 32) != t + 1)); }
      if (F <= VOLATILE) sum += __uint_as_float((u32)w);
      if constexpr (F == DATA_RELACQ) { while (ldacq32(FLAG) != t + 1) {} sum += DATA(t)[31 - lane]; }
      if constexpr (F == DATA_ATOMIC) { while (atadd32(FLAG) != t + 1) {} __threadfence_block(); sum += DATA(t)[31 - lane]; }
      if constexpr (F == MB_ALL || F == MB_ONE || F == BULK_ALL || F == BULK_ONE || F == TENSOR || F == CPASYNC) { wait(FULL(t), parity); sum += DATA(t)[31 - lane]; }
      if constexpr (F == BULK_LDM) {
        wait(FULL(t), parity);
        u32 r;
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0},[%1];" : "=r"(r) : "r"(WORDS(t) + lane % 8 * 16) : "memory");
        sum += __uint_as_float(r);
      }
      if constexpr (F == BULK_CLUSTER) {
        wait(FULL(t), parity);
        u32 r;
        asm volatile("ld.relaxed.cluster.shared::cluster.u32 %0,[%1];" : "=r"(r) : "r"(WORDS(t) + (31 - lane) * 4) : "memory");
        sum += __uint_as_float(r);
      }
      if constexpr (F == NAMED) { asm volatile("barrier.sync %0,64;" ::"r"(1 + t % R) : "memory"); sum += DATA(t)[31 - lane]; }
      if constexpr (F == NAMED_BOTH) { asm volatile("barrier.sync 1,64;" ::: "memory"); sum += DATA(t)[31 - lane]; asm volatile("barrier.sync 2,64;" ::: "memory"); }
      // free
      __syncwarp();
      if constexpr (F == WORDS_LD || F == EXCH_LD || F == ST_CAS) { if (lane == 0) st32(PROG, t + 1); }
      else if constexpr (F == REL_ACQ || F == DATA_RELACQ) { if (lane == 0) strel32(PROG, t + 1); }
      else if constexpr (F == VOLATILE) { if (lane == 0) *(volatile u32*)(smem + 128) = t + 1; }
      else if constexpr (F == EXCH_CAS || F == DATA_ATOMIC) { if (lane == 0) exch32(PROG, t + 1); }
      else if constexpr (F == NAMED) { if (t + R < rounds) asm volatile("barrier.arrive %0,64;" ::"r"(3 + t % R) : "memory"); }
      else if constexpr (F == NAMED_BOTH) {}
      else if constexpr (one) { if (lane == 0) arrive(EMPTY(t)); }
      else arrive(EMPTY(t));
    }
  }
  if (warp == 1) {
    out[lane] = sum;
    if (lane == 0) *cycles = clock64() - began;
  }
}

// How a kernel ended, what the first lane of the reading warp has summed up, and what a round took.
void report(const char* name, const float* sum, const u64* cycles, int rounds) {
  const cudaError_t e = cudaDeviceSynchronize();
  float got = 0;
  u64 c = 0;
  cudaMemcpy(&got, sum, sizeof got, cudaMemcpyDeviceToHost);
  cudaMemcpy(&c, cycles, sizeof c, cudaMemcpyDeviceToHost);
  printf("%-16s %s sum %.1f cycles/round %.1f\n", name, cudaGetErrorString(e), got, (double)c / rounds);
  fflush(stdout);
}

template <int F>
void run(const float* in, float* out, u64* cycles, int rounds, const CUtensorMap& map) {
  form<F><<<1, 64, 4096>>>(in, out, cycles, rounds, map);
  report(NAMES[F], out, cycles, rounds);
}

template <int F>
void all(const float* in, float* out, u64* cycles, int rounds, const CUtensorMap& map) {
  if constexpr (F < FORMS) {
    run<F>(in, out, cycles, rounds, map);
    all<F + 1>(in, out, cycles, rounds, map);
  }
}

// Three warps: A and B write, C reads; every poll gives up after a second. A *shadow* is an mbarrier that nobody waits
// for: writers arrive before they publish a word, and who has polled the word takes its latest phase, of whichever parity.
// Forms called BAD_ lack an order and must be reported.
enum Shadow { EITHER, EITHER_TRY, EITHER_UNUSED, LAG, CUMULATIVE, TWO_WARPS, MEETING, OVER_BARRIER, OVER_MBARRIER, STEP, STEP_ATOMIC, STEP_SHADOW, SUBSET, BAD_SUBSET, BAD_EARLY, BAD_OTHER, STAGE_, BAD_STAGE, BAD_LANDED, WORD_V2, FLAG_PLAIN, BAD_WORD, BAD_ONCE, SHADOWS };
const char* SHADOW_NAMES[] = {"either", "either_try", "either_unused", "lag", "cumulative", "two_warps", "meeting", "over_barrier", "over_mbarrier", "step", "step_atomic", "step_shadow", "subset", "bad_subset", "bad_early", "bad_other", "stage", "bad_stage", "bad_landed", "word_v2", "flag_plain", "bad_word", "bad_once"};
#define AT(i) (sh(smem) + (i) * 8)                               // mbarriers
#define WORD(i) (sh(smem) + 256 + (i) * 16)                      // words
#define CELLS(i) (reinterpret_cast<volatile float*>(smem + 1024 + (i) * 256))  // data, 64 floats each
#define SPIN(done) for (const long long began_ = clock64(); !(done) && clock64() - began_ < 2000000000ll;) {}
__device__ __forceinline__ bool peek(u32 b, u32 parity) {
  u32 d;
  asm volatile("{.reg .pred p; mbarrier.test_wait.parity.shared.b64 p,[%1],%2; selp.u32 %0,1,0,p;}" : "=r"(d) : "r"(b), "r"(parity) : "memory");
  return d;
}
template <int F>
__device__ __forceinline__ void take(u32 b) {
  if constexpr (F == EITHER_TRY) { SPIN(test(b, 0) || test(b, 1)) }
  else if constexpr (F == EITHER_UNUSED) { peek(b, 0); peek(b, 1); }
  else { SPIN(peek(b, 0) || peek(b, 1)) }
}
__device__ __forceinline__ void until(u32 word, u32 n) { SPIN((int)(ld32(word) - n) >= 0) }
__device__ __forceinline__ void pair() { asm volatile("bar.sync 1,64;" ::: "memory"); }
__device__ __forceinline__ void trio() { asm volatile("barrier.sync 3,96;" ::: "memory"); }

template <int F>
__global__ void shadow(const float* in, float* out, u64* cycles, int rounds) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, pt = threadIdx.x;
  constexpr int RING = F == LAG ? 8 : 1;
  constexpr int OUT = 0, BACK = 1, MID = 2, FULL_ = 3;
  for (int i = threadIdx.x; i < 4096; i += blockDim.x) smem[i] = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    init(AT(OUT), F == TWO_WARPS || F == MEETING || F == STAGE_ || F == BAD_STAGE || F == BAD_LANDED ? 64 : F == STEP_SHADOW ? 96 : 32);
    init(AT(BACK), 32);
    init(AT(MID), 32);
    init(AT(FULL_), 1);
  }
  asm volatile("fence.mbarrier_init.release.cluster;");
  __syncthreads();
  float sum = 0.f;
  const u64 began = clock64();
#pragma unroll 1
  for (int t = 0; t < rounds; t++) {
    const u32 n = t + 1;
    volatile float* d = CELLS(t % RING);
    const float v = in[(t & 3) * 32 + lane];
    if constexpr (F == EITHER || F == EITHER_TRY || F == EITHER_UNUSED || F == LAG || F == BAD_EARLY || F == BAD_OTHER || F == BAD_WORD || F == BAD_ONCE) {
      if (warp == 0) {
        if (t >= RING) { until(WORD(1), n - RING); take<F>(AT(BACK)); }
        __syncwarp();
        if (F == BAD_EARLY) __nanosleep(20000);
        d[lane] = v;
        if (F == BAD_ONCE) __nanosleep(20000);
        if (F != BAD_WORD) arrive(AT(OUT));
        __syncwarp();
        if (lane == 0) exch32(WORD(0), n);
      } else if (warp == 2) {
        if (F == LAG) __nanosleep(5000);
        if (F == BAD_EARLY && t > 0) take<F>(AT(OUT));
        if (F == BAD_ONCE) peek(AT(OUT), t & 1); else until(WORD(0), n);
        if (F == BAD_OTHER) { if (t > 0) take<F>(AT(BACK)); } else if (F != BAD_EARLY && F != BAD_WORD && F != BAD_ONCE) take<F>(AT(OUT));
        sum += d[31 - lane];
        arrive(AT(BACK));
        __syncwarp();
        if (lane == 0) exch32(WORD(1), n);
      }
    }
    if constexpr (F == CUMULATIVE || F == OVER_BARRIER || F == OVER_MBARRIER || F == MEETING || F == TWO_WARPS) {
      if (warp < 2) {
        if (t > 0) { until(WORD(1), n - 1); take<F>(AT(BACK)); }
        __syncwarp();
        if (warp == 0 || F == TWO_WARPS) d[pt] = v;
        if (F == MEETING || F == TWO_WARPS) arrive(AT(OUT));
        if (F == CUMULATIVE && warp == 0) arrive(AT(OUT));
        if (F == OVER_MBARRIER) {
          if (warp == 0) arrive(AT(MID)); else wait(AT(MID), t & 1);
        } else if (F != TWO_WARPS) {
          pair();
        }
        if (warp == 1 && F == CUMULATIVE) for (int i = 0; i < 3; i++) { arrive(AT(OUT)); __syncwarp(); }
        if (warp == 1 && (F == OVER_BARRIER || F == OVER_MBARRIER)) arrive(AT(OUT));
        __syncwarp();
        if (lane == 0 && (warp == 1 || F == TWO_WARPS)) exch32(WORD(warp == 1 ? 0 : 2), n);
      } else {
        until(WORD(0), n);
        if (F == TWO_WARPS) until(WORD(2), n);
        if (F == OVER_MBARRIER) wait(AT(OUT), t & 1); else take<F>(AT(OUT));
        sum += d[31 - lane];
        if (F == TWO_WARPS) sum += d[63 - lane];
        arrive(AT(BACK));
        __syncwarp();
        if (lane == 0) exch32(WORD(1), n);
      }
    }
    if constexpr (F == STEP || F == STEP_ATOMIC || F == STEP_SHADOW) {
      auto meet_all = [&] { if (F == STEP_SHADOW) arrive(AT(OUT)); trio(); if (F == STEP_SHADOW) take<F>(AT(OUT)); };
      if (warp < 2) {
        if (pt == 0) { if (F == STEP_ATOMIC) exch32(WORD(0), n); else *(volatile u32*)(smem + 256) = n; }
        meet_all();
        sum += *(volatile u32*)(smem + 256);
        pair();
        sum += d[lane];
        meet_all();
      } else {
        meet_all();
        sum += *(volatile u32*)(smem + 256);
        asm volatile("bar.sync 2,32;" ::: "memory");
        meet_all();
      }
    }
    if constexpr (F == SUBSET || F == BAD_SUBSET) {
      if (warp < 2) {
        if (warp == 0) d[lane] = v;
        pair();
        if (warp == 1) sum += d[31 - lane];
        pair();
      } else if (F == BAD_SUBSET) {
        sum += d[31 - lane];
      }
    }
    if constexpr (F == STAGE_ || F == BAD_STAGE || F == BAD_LANDED) {
      if (warp < 2) {
        d[pt] = v;
        arrive(AT(OUT));
        pair();
        sum += d[63 - pt];
        arrive(AT(OUT));
        pair();
        if (pt == 0) exch32(WORD(0), n);
        if (F != BAD_LANDED) wait(AT(FULL_), t & 1);
        sum += d[63 - pt];
        arrive(AT(OUT));
        pair();
      } else {
        until(WORD(0), n);
        if (F != BAD_STAGE) take<F>(AT(OUT));
        __syncwarp();
        asm volatile("fence.proxy.async;" ::: "memory");
        if (lane == 0) { expect(AT(FULL_), 256); bulk(sh(smem) + 1024, in, 256, AT(FULL_)); }
      }
    }
    if constexpr (F == WORD_V2) {
      const u64 tag = (u64)n << 32;
      if (warp == 0) {
        if (t > 0) SPIN((int)(*(volatile u32*)(smem + 256 + 16) - (n - 1)) >= 0)
        exch64(sh(smem) + 1024 + lane * 8, tag | __float_as_uint(v));
      } else if (warp == 2) {
        u64 x = 0, y = 0;
        auto load = [&] { asm volatile("ld.relaxed.cta.shared.v2.u64 {%0,%1},[%2];" : "=l"(x), "=l"(y) : "r"(sh(smem) + 1024 + lane / 2 * 16) : "memory"); return x >> 32 == n && y >> 32 == n; };
        SPIN(!__any_sync(~0u, !load()))
        sum += __uint_as_float((u32)x) + __uint_as_float((u32)y);
        __syncwarp();
        if (lane == 0) exch32(WORD(1), n);
      }
    }
    if constexpr (F == FLAG_PLAIN) {
      if (warp < 2) exch32(WORD(0), n);
      else sum += *(volatile u32*)(smem + 256);
    }
  }
  out[threadIdx.x] = sum;
  if (threadIdx.x == 0) *cycles = clock64() - began;
}

template <int F>
void shadows(const float* in, float* out, u64* cycles, int rounds) {
  if constexpr (F < SHADOWS) {
    shadow<F><<<1, 96, 4096>>>(in, out, cycles, rounds);
    report(SHADOW_NAMES[F], out + 64, cycles, rounds);
    shadows<F + 1>(in, out, cycles, rounds);
  }
}

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 16;
  float *in, *out; u64* cycles;
  cudaMalloc(&in, 8 * 128); cudaMalloc(&out, 512); cudaMalloc(&cycles, 64);
  float host[256];
  for (int i = 0; i < 256; i++) host[i] = (float)(i % 17);
  cudaMemcpy(in, host, sizeof host, cudaMemcpyHostToDevice);
  void* entry = nullptr; cudaDriverEntryPointQueryResult q;
  cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &q);
  CUtensorMap map;
  memset(&map, 0, sizeof map);
  cuuint64_t dims[2] = {32, 8}, strides[1] = {128};
  cuuint32_t box[2] = {32, 1}, es[2] = {1, 1};
  auto encode = (decltype(&cuTensorMapEncodeTiled))entry;
  CUresult r = encode(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 2, in, dims, strides, box, es, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  printf("encode %d\n", (int)r);
  all<0>(in, out, cycles, rounds, map);
  shadows<0>(in, out, cycles, rounds);
}
