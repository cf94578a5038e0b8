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
  for (int i = 0; i < FINISHERS; i++) AMK_TAKE_FINISHER(i);
  return first;
}

/// By finisher `me`: all that it has to complete before `block` is complete. Released where global memory is meant too.
template <bool RELEASE = false>
__device__ __forceinline__ void progress_put(const Cta& c, int me, u32 block) {
  volatile u32* progress = reinterpret_cast<volatile u32*>(smem + PROGRESS) + me;
  if constexpr (RELEASE) __syncwarp();
  AMK_FINISHER_LEAVES(me);
  if (c.lane != 0) return;  // one lane reports
  if constexpr (RELEASE)
    store_release(progress, block);
  else
    store_relaxed(progress, block);
}

/// By consumers: until every row block before `block` is finished.
__device__ __forceinline__ void reach(Cta& c, u32 block) {
  for (u32 polls = 0; (int)(block - c.reached) > 0 && !give_up_near(c, polls, ON_FINISHERS, block);) c.reached = slowest_finisher();
}

/// By consumers, ahead of an instruction that shares buffers with finishers, or that tells other SMs what this one has
/// written: until every row block so far is finished. (`Roles.joins` says which instructions.)
__device__ __forceinline__ void finished(Cta& c) {
  reach(c, c.block);
  if constexpr (RELEASED)
    asm volatile("fence.acq_rel.cta;" ::: "memory");
  else
    asm volatile("" ::: "memory");  // progress is read, and only then what it stands for
}

/// By consumers: until the entries of `block` are free.
__device__ __forceinline__ void reserve(Cta& c, u32 block) { reach(c, block - LEAD + 1); }

__device__ __forceinline__ void entry_put(u32 address, float v, u32 tag) {
  const u64 word = (u64)tag << 32 | __float_as_uint(v);
#if AMK_ANNOTATE
  asm volatile("{.reg .b64 r; atom.relaxed.cta.shared.exch.b64 r,[%0],%1;}" ::"r"(address), "l"(word) : "memory");
#else
  asm volatile("st.relaxed.cta.shared.u64 [%0],%1;" ::"r"(address), "l"(word) : "memory");
#endif
}

__device__ __forceinline__ u64 entry_word(u32 address) {
  u64 v;
  asm volatile("ld.relaxed.cta.shared.u64 %0,[%1];" : "=l"(v) : "r"(address) : "memory");
  return v;
}

__device__ __forceinline__ ulonglong2 entry_words(u32 address) {
  ulonglong2 v;
  asm volatile("ld.relaxed.cta.shared.v2.u64 {%0,%1},[%2];" : "=l"(v.x), "=l"(v.y) : "r"(address) : "memory");
  return v;
}

__device__ __forceinline__ float value(u64 word) { return __uint_as_float((u32)word); }

/// By one warp: until all words of N entries of the block that starts at `row` are there, and, where `squares`, their sums
/// of squares. A lane looks at two words of one entry in eight: the fewer reads, the sooner the last word is seen, and the
/// more room have the consumers.
template <int N, class Entry>
__device__ __forceinline__ void entries_wait(const Cta& c, int row, Entry entry, bool squares, u32 tag) {
#pragma unroll 1
  for (int first = 0; first < N; first += 8) {
    const u32 at = entry(N % 8 ? min(first + (c.lane >> 2), N - 1) : first + (c.lane >> 2));
    for (u32 polls = 0;;) {
      const ulonglong2 v = entry_words(at + (c.lane & 3) * 16);
      bool again = (u32)(v.x >> 32) != tag || (u32)(v.y >> 32) != tag;
      if (squares) again |= (u32)(entry_word(at + 64) >> 32) != tag;
      if (!__any_sync(ALL, again) || give_up_together(c, polls, ON_SUMS, row)) break;
    }
  }
  AMK_TAKE_CONSUMERS();
}

/// The sums, in order, of two neighboring words of N entries that are there; `at(i)` is the address of those of entry i.
template <int N, class At>
__device__ __forceinline__ void entry_sums(float (&sum)[2], At at) {
  constexpr int BATCH = N < 8 ? N : 8;
#pragma unroll 1
  for (int first = 0; first < N; first += BATCH) {
    ulonglong2 v[BATCH];
#pragma unroll
    for (int i = 0; i < BATCH; i++) v[i] = entry_words(at(N % BATCH ? min(first + i, N - 1) : first + i));
#pragma unroll
    for (int i = 0; i < BATCH; i++) {
      if (N % BATCH && first + i >= N) continue;
      sum[0] += value(v[i].x), sum[1] += value(v[i].y);
    }
  }
}

/// The sum of one word of each of N entries that are there, in order.
template <int N, class At>
__device__ __forceinline__ float entry_sum(At at) {
  u64 v[N];
#pragma unroll
  for (int i = 0; i < N; i++) v[i] = entry_word(at(i));
  float s = 0.f;
#pragma unroll
  for (int i = 0; i < N; i++) s += value(v[i]);
  return s;
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
