// Reductions in a fixed order, and the meeting of partial sums.
//
// A row block (8 rows) is computed by several warps, each over its own columns. Each leaves its 8 sums in an *entry* in
// shared memory: 64-bit words of a value and the block's number, so that the warp that finishes the block polls the
// values themselves and nobody needs a barrier.
//
// Entries of PRIVATE gemvs: DEPTH blocks x PARTS_MOST; consumers run at most LEAD <= DEPTH blocks ahead of the slowest
// finisher, so an entry has been read before it is written again (K2).
// Entries of other gemvs are taken in turn from a ring of ENTRIES, and a consumer finishes the block; that none is
// overwritten before it was read follows from the weight ring (K3).
//
// An entry is 8 sums, and the sum of squares of the columns' inputs.

__device__ __forceinline__ u32 entry_address(u32 entry) {
  if (entry >= ENTRIES) entry -= ENTRIES;
  return shared(smem + PARTS) + entry * ENTRY_BYTES;
}

__device__ __forceinline__ u32 private_entry(u32 block, int part) {
  return shared(smem + PRIVATE_PARTS) + (block % DEPTH * PARTS_MOST + part) * ENTRY_BYTES;
}

/// A block before which all finishers are done.
__device__ __forceinline__ u32 slowest_finisher() {
  const volatile u32* progress = reinterpret_cast<const volatile u32*>(smem + PROGRESS);
  u32 first = progress[0];
#pragma unroll
  for (int i = 1; i < FINISHERS; i++) first = min(first, progress[i]);
  return first;
}

/// By consumers, ahead of an instruction that shares buffers with finishers, or that tells other SMs what this one has
/// written: until every row block so far is finished. (`Handover.joins` says which instructions.)
__device__ __forceinline__ void finished(Cta& c) {
  while ((int)(c.block - c.reached) > 0) c.reached = slowest_finisher();
#if AMK_COUNTERS
  asm volatile("fence.acq_rel.cta;" ::: "memory");  // of plain buffers too, which a signal may pass on
#endif
}

__device__ __forceinline__ void entry_put(u32 address, float v, u32 tag) {
  asm volatile("st.relaxed.cta.shared.u64 [%0],%1;" ::"r"(address), "l"((u64)tag << 32 | __float_as_uint(v)) : "memory");
}

/// N words of entries, once all lanes of the warp have theirs; `there(i)`: whether the lane wants word i (else it is 0).
template <int N, class At, class There>
__device__ __forceinline__ void entry_get(float (&out)[N], At at, There there, u32 tag) {
  u64 v[N];
  bool again;
  do {
    again = false;
#pragma unroll
    for (int i = 0; i < N; i++) {
      asm volatile("ld.relaxed.cta.shared.u64 %0,[%1];" : "=l"(v[i]) : "r"(at(i)) : "memory");
      again |= there(i) && (u32)(v[i] >> 32) != tag;
    }
  } while (__any_sync(ALL, again));
#pragma unroll
  for (int i = 0; i < N; i++) out[i] = there(i) ? __uint_as_float((u32)v[i]) : 0.f;
}

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(ALL, v, o);
  return v;
}

/// Sum over all consumer threads, to all of them; `turns` are WARPS floats of shared memory. Contains one barrier.
__device__ __forceinline__ float block_sum(const Cta& c, float v, float* turns) {
  v = warp_sum(v);
  if (c.lane == 0) turns[c.warp] = v;
  meet();
  float s = 0.f;
#pragma unroll
  for (int w = 0; w < WARPS; w++) s += turns[w];
  return s;
}

/// A float and its row as one number: larger float first, then the lower row.
__device__ __forceinline__ u64 rank(float v, u32 row) {
  const u32 b = __float_as_uint(v);
  return (u64)((b >> 31) ? ~b : b | 0x80000000u) << 32 | (0xffffffffu - row);
}
__device__ __forceinline__ float rank_value(u64 k) {
  const u32 b = (u32)(k >> 32);
  return __uint_as_float((b >> 31) ? b & 0x7fffffffu : ~b);
}
__device__ __forceinline__ u32 rank_row(u64 k) { return 0xffffffffu - (u32)k; }

__device__ __forceinline__ u64 warp_max(u64 k) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) {
    const u64 other = __shfl_xor_sync(ALL, k, o);
    k = other > k ? other : k;
  }
  return k;
}
