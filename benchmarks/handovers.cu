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

template <int F>
void run(const float* in, float* out, u64* cycles, int rounds, const CUtensorMap& map) {
  form<F><<<1, 64, 4096>>>(in, out, cycles, rounds, map);
  cudaError_t e = cudaDeviceSynchronize();
  float got[32];
  u64 c = 0;
  cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost);
  cudaMemcpy(&c, cycles, 8, cudaMemcpyDeviceToHost);
  printf("%-16s %s sum %.1f cycles/round %.1f\n", NAMES[F], cudaGetErrorString(e), got[0], (double)c / rounds);
  fflush(stdout);
}

template <int F>
void all(const float* in, float* out, u64* cycles, int rounds, const CUtensorMap& map) {
  if constexpr (F < FORMS) {
    run<F>(in, out, cycles, rounds, map);
    all<F + 1>(in, out, cycles, rounds, map);
  }
}

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 16;
  float *in, *out; u64* cycles;
  cudaMalloc(&in, 8 * 128); cudaMalloc(&out, 128); cudaMalloc(&cycles, 64);
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
}
