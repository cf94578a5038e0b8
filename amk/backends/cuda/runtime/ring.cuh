// The weight stream: a ring in shared memory that the loader warp fills and the consumer warps drain.
//
// The stream of an SM is cut into slots (8 rows x SLOT_COLUMNS columns of one weight). Slot n lies at n % SLOTS and
// belongs to consumer warp n % WARPS. The loader copies GROUP slots at a time; barrier full[i] completes when copy i
// has landed, empty[i] when each of its GROUP slots was drained. SLOTS % WARPS == 0, so the warp that waits for a slot
// is the one that drained it a lap before: it can never be a lap behind, and one parity bit tells laps apart.
//
// At most WINDOW copies are in flight, and only CALM while more than half of the ring is filled: a deeper queue makes
// every other access of the SM wait, and an SM that has enough leaves the memory to those that fell behind.
// The loader reads immutable memory only and waits for nothing but the ring.

static_assert(SLOTS % WARPS == 0, "a slot must have one consumer");
static_assert(SLOTS % GROUP == 0 && WINDOW <= SLOTS / GROUP, "the ring holds whole copies");
constexpr int COPIES = SLOTS / GROUP;
constexpr int CALM = WINDOW > 3 ? WINDOW / 2 : WINDOW > 1 ? WINDOW - 1 : 1;
constexpr int COPY_BYTES = GROUP * SLOT_BYTES;
constexpr u32 LANDING = 1 << 16;  ///< polls, some ms, that a copy may still take when the block has given up
constexpr int PIECE = 16384;  ///< bytes of rows that the loader asks for at once
constexpr u32 PACE = 960;    ///< and the cycles from one piece to the next: an SM's share of the memory's rate

__device__ __forceinline__ u32 full_barrier(int copy) { return shared(smem + BARRIERS) + copy * 8; }
__device__ __forceinline__ u32 empty_barrier(int copy) { return shared(smem + BARRIERS) + (COPIES + copy) * 8; }

__device__ __forceinline__ void barrier_init(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0],%1;" ::"r"(barrier), "r"(arrivals));
}

__device__ __forceinline__ bool barrier_test(u32 barrier, u32 parity) {
  u32 done;
#if AMK_TRY_WAIT
  asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared.b64 p,[%1],%2; selp.u32 %0,1,0,p;}"
#else
  asm volatile("{.reg .pred p; mbarrier.test_wait.parity.shared.b64 p,[%1],%2; selp.u32 %0,1,0,p;}"
#endif
               : "=r"(done)
               : "r"(barrier), "r"(parity)
               : "memory");
  return done != 0;
}

/// Does not suspend the thread.
__device__ __forceinline__ bool barrier_peek(u32 barrier, u32 parity) {
  u32 done;
  asm volatile("{.reg .pred p; mbarrier.test_wait.parity.shared.b64 p,[%1],%2; selp.u32 %0,1,0,p;}"
               : "=r"(done)
               : "r"(barrier), "r"(parity)
               : "memory");
  return done != 0;
}

__device__ __forceinline__ void barrier_wait(const Cta& c, u32 barrier, u32 parity, int kind, u32 where) {
  if (barrier_test(barrier, parity)) return;
  const u32 began = ticks();
  while (!barrier_test(barrier, parity) && !expired(c, ticks() - began, kind, where, 0)) {
  }
}

__device__ __forceinline__ void barrier_arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared.b64 _,[%0];" ::"r"(barrier) : "memory");
}

/// All lanes of the warp have read what the barrier's buffer holds; every register that they loaded is part of `read`. An
/// arrival does not wait for loads that were issued before it, and behind loads of global memory these can take longer
/// than the next copy into the buffer. So it is made to depend on what they return.
__device__ __forceinline__ void warp_arrive(const Cta& c, u32 barrier, u32 read) {
  const u32 none = __any_sync(ALL, read & c.a.none);
  if (c.lane < LANES_FREE) barrier_arrive(barrier + none);
}

/// Run by one thread before the block's first barrier.
__device__ __forceinline__ void ring_init() {
#pragma unroll 1
  for (int i = 0; i < COPIES; i++) {
    barrier_init(full_barrier(i), AMK_BULK_COPY ? 1 : 32);
    barrier_init(empty_barrier(i), GROUP * LANES_FREE);
  }
#if AMK_BULK_COPY
  asm volatile("fence.mbarrier_init.release.cluster;");
#endif
}

/// Consumer: the warp's next slot, once it has landed.
__device__ __forceinline__ const unsigned char* slot_wait(const Cta& c) {
  barrier_wait(c, full_barrier(c.slot / GROUP), c.parity, ON_SLOT, c.slot);
  return smem + c.slot * SLOT_BYTES;
}

/// Consumer: the warp has read its slot, `read` (warp_arrive). Moves on to the warp's next one.
__device__ __forceinline__ void slot_free(Cta& c, u32 read) {
  warp_arrive(c, empty_barrier(c.slot / GROUP), read);
  c.slot += WARPS;
  if (c.slot >= SLOTS) c.slot -= SLOTS, c.parity ^= 1;
}

// Rows of the caches: the loader asks for those of an attention tile ahead of it, so that its loads find them in L2,
// whenever the ring is full, from copy `begin` of a step's stream until copy `end`, behind which the tile is done. No data
// moves to the SM and nothing waits for it: whether and when rows come changes only the time. Of a tile's RowsAhead
// (emitted), `head` is where the rows of its KV head begin in the caches, in units of 16 bytes; chunk, splits and split are
// as in Attention, but one split has all rows in one chunk; window is 0 for none.

/// The rows that are left of one tile: `rest` bytes from `p` on, of which `run` are contiguous, then `jump` bytes are
/// another split's.
struct RowsLeft {
  const unsigned char* p;
  u32 rest, run, chunk;
  u64 jump;
  u32 last;  ///< clock of the latest piece

  __device__ __forceinline__ void set(const Args& a, const RowsAhead& r, int pos) {
    auto below = [&](u32 n) {
      const u32 round = r.chunk * r.splits, in = n % round, before = r.split * r.chunk;
      return n / round * r.chunk + (in > before ? min(in - before, r.chunk) : 0);
    };
    const u32 gone = r.window ? below(max(0, pos + 1 - (int)r.window)) : 0;
    p = a.cache + (u64)r.head * 16 + ((u64)(gone / r.chunk * r.splits + r.split) * r.chunk + gone % r.chunk) * r.row_bytes;
    rest = (below(pos) - gone) * r.row_bytes;
    run = (r.chunk - gone % r.chunk) * r.row_bytes;
    chunk = r.chunk * r.row_bytes;
    jump = (u64)(r.splits - 1) * chunk;
  }

  /// Asks for the next piece, where the one before is long enough ago.
  __device__ __forceinline__ void next(int lane) {
    const u32 now = (u32)clock();
    if (now - last < PACE) return;
    last = now;
    const u32 n = min(min(rest, run), (u32)PIECE);
#if AMK_BULK_COPY
    asm volatile("cp.async.bulk.prefetch.L2.global [%0],%1;" ::"l"(p), "r"(n) : "memory");
#else
    for (u32 b = lane * 128; b < n; b += 4096) asm volatile("prefetch.global.L2 [%0];" ::"l"(p + b));
#endif
    p += n, rest -= n, run -= n;
    if (run == 0) p += jump, run = chunk;
  }
};

/// Loader: streams `count` slots (a multiple of WARPS) at `from`, once per step, until told to stop; in steps whose next
/// token is given, only the first `count_given` of them. Between them it asks for the rows `ahead`.
__device__ __forceinline__ void stream_weights(const Args& a, const unsigned char* from, int count, int count_given, int lane,
                                               const RowsAhead* ahead, int tiles) {
  if (count == 0) return;
#if AMK_BULK_COPY
  if (lane != 0) return;
#endif
#if AMK_BULK_COPY
  u64 once;  // weights are read once a step: they must not push keys, values and activations out of L2
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(once));
#endif
  int at = 0, oldest = 0, flying = 0;
  u32 lap = 1, oldest_parity = 0;
  bool first = true, running = true;
  auto retire = [&] {  // once the oldest copy has landed, or should have long ago
    while (!barrier_test(full_barrier(oldest), oldest_parity)) {
      if (!block_gave_up()) continue;
      for (u32 polls = 0; polls < LANDING && !barrier_peek(full_barrier(oldest), oldest_parity);) polls++;
      break;
    }
    if (++oldest == COPIES) oldest = 0, oldest_parity ^= 1;
    flying--;
  };
  RowsLeft rows{};
  for (int step = 0; running && step < a.steps; step++) {
    const unsigned char* p = from;
    const int copies = (step + 1 < a.prompt_length ? count_given : count) / GROUP;
    int tile = 0;
    u32 begin = tiles > 0 ? ahead[0].begin : ~0u, end = 0;
#pragma unroll 1
    for (u32 i = 0; i < (u32)copies; i++, p += COPY_BYTES) {
      if (i >= end) rows.rest = 0;
      while (!first && !(rows.rest || i >= begin ? barrier_peek(empty_barrier(at), lap) : barrier_test(empty_barrier(at), lap))) {
        if (flag(STOP) || block_gave_up()) {
          running = false;
          break;
        }
        if (rows.rest) {
          rows.next(lane);
        } else if (i >= begin) {
          rows.set(a, ahead[tile], a.start + step);
          end = ahead[tile].end;
          begin = ++tile < tiles ? ahead[tile].begin : ~0u;
        }
      }
#if !AMK_BULK_COPY
      running = __all_sync(ALL, running);  // lanes that looked at different times must agree: a copy takes all of them
#endif
      if (!running) break;
      const bool wraps = at + COPIES / 2 >= COPIES;
      const bool starved = (first && !wraps) || barrier_peek(empty_barrier(at + COPIES / 2 - (wraps ? COPIES : 0)), lap ^ wraps);
      while (flying >= (starved ? WINDOW : CALM)) retire();
#if AMK_BULK_COPY
      asm volatile("mbarrier.arrive.expect_tx.shared.b64 _,[%0],%1;" ::"r"(full_barrier(at)), "n"(COPY_BYTES) : "memory");
      asm volatile(
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0],[%1],%2,[%3],%4;" ::"r"(
              shared(smem) + at * COPY_BYTES),
          "l"(p), "n"(COPY_BYTES), "r"(full_barrier(at)), "l"(once)
          : "memory");
#else
      for (int b = lane * 16; b < COPY_BYTES; b += 512)
        asm volatile("cp.async.cg.shared.global [%0],[%1],16;" ::"r"(shared(smem) + at * COPY_BYTES + b), "l"(p + b)
                     : "memory");
      asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(full_barrier(at)) : "memory");
#endif
      flying++;
      if (++at == COPIES) at = 0, lap ^= 1, first = false;
    }
  }
  while (flying > 0) retire();  // no copy may land after the block has left
}

// The ring of key and value rows (attention.cuh): KV_BUFFERS buffers of KV_BYTES. Full and empty as above; every consumer
// warp drains every buffer, one finisher fills them.

__device__ __forceinline__ u32 kv_full(int buffer) { return shared(smem + KV_BARRIERS) + buffer * 8; }
__device__ __forceinline__ u32 kv_empty(int buffer) { return shared(smem + KV_BARRIERS) + (KV_BUFFERS + buffer) * 8; }

__device__ __forceinline__ void kv_init() {
#pragma unroll 1
  for (int i = 0; i < KV_BUFFERS; i++) {
    barrier_init(kv_full(i), AMK_BULK_COPY ? 1 : 32);
    barrier_init(kv_empty(i), WARPS * LANES_FREE);
  }
}

/// The finisher that copies rows: no copy may land after the block has left. Who gave up has not awaited it.
__device__ __forceinline__ void kv_retire(const Cta& c) {
#pragma unroll 1
  for (u32 i = 0; i < KV_BUFFERS; i++) {
    const u32 lap = c.chunk / KV_BUFFERS ^ (i >= c.chunk % KV_BUFFERS);  // that of the buffer's last copy, if there was one
    for (u32 polls = 0; polls < LANDING && !barrier_peek(kv_full(i), lap & 1);) polls++;
  }
}

/// Copies contiguous rows to a buffer that is free; by one whole warp.
__device__ __forceinline__ void copy_rows(int buffer, const unsigned char* from, int bytes, int lane) {
  const u32 to = shared(smem + KV_STAGE) + buffer * KV_BYTES;
#if AMK_BULK_COPY
  if (lane != 0) return;
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _,[%0],%1;" ::"r"(kv_full(buffer)), "r"(bytes) : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(to), "l"(from),
               "r"(bytes), "r"(kv_full(buffer))
               : "memory");
#else
#pragma unroll 1
  for (int b = lane * 16; b < bytes; b += 512)
    asm volatile("cp.async.cg.shared.global [%0],[%1],16;" ::"r"(to + b), "l"(from + b) : "memory");
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(kv_full(buffer)) : "memory");
#endif
}
