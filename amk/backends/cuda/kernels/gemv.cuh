// gemv: rows [lo * tile, hi * tile) of y = W x, with what was fused before and after it.
//
// Tile shape: a row block is 8 rows; it is cut into SLICES slots of SLOT_COLUMNS columns, in the stream's order row
// block by row block. The warps take slots in turn; partial sums meet in entries (reduce.cuh) and one warp finishes a
// block: norm scale, bias, epilogue, publication. In PRIVATE form that is a finisher warp: were it one of the warps that
// multiply, its delay would hold up the next block, whose finisher would hold up the next.
//
// Gemvs of equal width share one instantiation (a *body*), whatever follows the product: its *endings* are types that
// the record chooses from. A layer's gemvs must stay together in the instruction cache.
//
// x reaches the warps in one of two ways:
//   PRIVATE  A warp polls only the columns that it works on, into registers (IN_REGISTERS) or its own part of the stage,
//            and no warp waits for another. Where SLICES is a multiple of WARPS, a warp always has the same columns, and
//            a finished block has one sum from every warp, hence every warp has read its x before anything is published.
//            Otherwise (ROTATING) a warp's columns change from slot to slot; it tells the finishers when it has read.
//   shared   all warps together poll x into the stage; one barrier before the first product, one after the last.
//
// Synchronization contract: flagged reads are polled; published words carry the epoch; no fence. Local operands (the
// residual rows) are touched by the warp that finishes the block: in PRIVATE form that is always the same finisher for
// the same rows, otherwise barriers order it. Consumers run at most LEAD blocks ahead of the finishers (`progress`).

enum GemvField { G_X = 1, G_X_USE, G_OUT, G_OUT_USE, G_NORM, G_BIAS, G_IN, G_IN_USE, G_RES, G_RES_USE, G_CAND, G_CAND_USE, G_END, G_N, G_TILE, G_EPS };
enum Epilogue { NONE, ROPE, ACTIVATION, GATED, RESIDUAL, LOGITS };

/// What a warp knows of the running gemv.
struct GemvRun {
  int row0, row1, tile, end;
  u32 out, out_use, in, in_use, res, res_use;
  const unsigned char* bias;
  const float* residual;  // of its rows, unless they lie in local memory
  float bias_next;  // of this lane's row in the next block that the warp finishes
  float scale;      // of the norm; 0: not known yet
  u64 best;         // best candidate of the tile so far
  int best_tile;
};

__device__ __forceinline__ u64* tile_best() { return reinterpret_cast<u64*>(smem + BEST); }

/// Leaves the warp's best candidate of its present tile.
__device__ __forceinline__ void flush(GemvRun& g) {
  const u64 k = warp_max(g.best);
  if (k && (threadIdx.x & 31) == 0) atomicMax(tile_best() + g.best_tile, k);
  g.best = 0;
}

/// Epilogue E of the block that starts at `row`: y is the sum of row + lane % 8.
template <class E>
__device__ __forceinline__ void finish(const Cta& c, GemvRun& g, int row, float y) {
  const int r = row + (c.lane & 7);
  const bool valid = c.lane < 8 && r < g.row1;
  const View<typename E::Out> out = view<typename E::Out>(c, g.out, g.out_use);
  if constexpr (E::BIAS) y += g.bias_next;
  if constexpr (E::SCALE != 1.f) y *= E::SCALE;
  if constexpr (E::EPILOGUE == NONE) {
    put_rows<1>(c, out, r, y, valid);
  } else if constexpr (E::EPILOGUE == ROPE) {
    const float z = __shfl_xor_sync(ALL, y, 1);
    const u32 at = (u32)r % E::HEAD_DIM;
    if (r < E::ROTATED && (E::ROTARY == E::HEAD_DIM || at < E::ROTARY)) {
      const float2 cs = reinterpret_cast<const float2*>(smem + ROPES + E::ROPE_AT)[at >> 1];
      y = r & 1 ? y * cs.x + z * cs.y : y * cs.x - z * cs.y;
    }
    put_rows<1>(c, out, r, y, valid);
  } else if constexpr (E::EPILOGUE == ACTIVATION) {
    put_rows<1>(c, out, r, activate<E::KIND>(y), valid);
  } else if constexpr (E::EPILOGUE == GATED) {
    const float up = __shfl_xor_sync(ALL, y, 1);
    y = activate<E::KIND>(y) * up;
    put_rows<2>(c, out, r >> 1, y, valid && !(r & 1));
  } else if constexpr (E::EPILOGUE == RESIDUAL) {
    if (valid) {
      if constexpr (E::In::SPACE == LOCAL)
        y += fetch_one(c, view<typename E::In>(c, g.in, g.in_use), r);
      else
        y += g.residual[r - g.row0];
      if constexpr (E::RES_OUT) put_one(view<typename E::Res>(c, g.res, g.res_use), r, y);
    }
    put_rows<1>(c, out, r, y, valid);
  } else {
    if constexpr (E::SOFTCAP != 0.f) y = capped(y, E::SOFTCAP);
    put_rows<1>(c, out, r, y, valid);
    if constexpr (E::WHOLE_BLOCKS) {  // a block lies in one tile: keep its best until the tile ends
      const int t = (row - g.row0) / g.tile;
      if (t != g.best_tile) {
        flush(g);
        g.best_tile = t;
      }
      const u64 k = rank(y, r);
      if (valid && k > g.best) g.best = k;
    } else if (valid) {
      atomicMax(tile_best() + (r - g.row0) / g.tile, rank(y, r));
    }
  }
}

template <class P>
struct Gemv {
  using X = typename P::X;
  using W = typename P::Weight;
  using D = Dot<W>;
  static constexpr int UNIT = X::UNIT;                     // columns that one thread polls at once
  static constexpr int UNITS = SLOT_COLUMNS / UNIT;        // units of a slice
  static constexpr int SLICE_BYTES = SLOT_COLUMNS * (int)sizeof(W);
  static constexpr bool ROTATING = P::PRIVATE && P::SLICES % WARPS != 0;
  static constexpr int BRIEF = P::SLICES > 1 ? 2 : 1;  // slots of a warp in a brief gemv, at most
  static constexpr int PARTS_OF_BLOCK = P::PRIVATE && !ROTATING ? WARPS : P::SLICES;
  static constexpr int TURNS = P::PRIVATE && !ROTATING ? P::SLICES / WARPS : 1;  // slots of one block that a warp takes

  static __device__ __forceinline__ void load_bias(const Cta& c, GemvRun& g, int row) {
    if constexpr (P::BIAS) {
      const int r = row + (c.lane & 7);
      g.bias_next = 0.f;
      if (g.bias && r < g.row1) g.bias_next = (float)reinterpret_cast<const typename P::Bias*>(g.bias)[r];
    }
  }

  /// Adds up the block's entries, in order, and finishes it.
  template <class Entry>
  static __device__ __forceinline__ void collect(Cta& c, GemvRun& g, int row, Entry entry, u32 tag) {
    // lane l adds up word l % 8 of entries l / 8, l / 8 + 4, ...; of the sums of squares it has entries l, l + 32, ...
    constexpr bool SQUARES = P::NORM && P::PRIVATE;
    constexpr int BATCH = PARTS_OF_BLOCK <= 4 ? 1 : 2, ROUNDS = ceil_div(PARTS_OF_BLOCK, 4 * BATCH);
    constexpr int WIDTH = PARTS_OF_BLOCK <= 8 ? 8 : 32;  // fewer shuffles on the way of a hop
    const bool scaled = !SQUARES || g.scale != 0.f;
    auto part = [&](int i) { return min(i, PARTS_OF_BLOCK - 1); };
    float y = 0.f, z = 0.f;
#pragma unroll 1
    for (int r = 0; r < ROUNDS; r++) {
      constexpr int SQUARE = SQUARES && ROUNDS == 1 ? 1 : 0;  // the last word of the batch
      float v[BATCH + SQUARE];
      auto index = [&](int i) { return i < BATCH ? (r * BATCH + i) * 4 + (c.lane >> 3) : c.lane % WIDTH; };
      entry_get(
          v, [&](int i) { return entry(part(index(i))) + (i < BATCH ? (c.lane & 7) * 8 : 64); },
          [&](int i) { return index(i) < PARTS_OF_BLOCK && (i < BATCH || !scaled); }, tag);
#pragma unroll
      for (int i = 0; i < BATCH; i++) y += v[i];
      if constexpr (SQUARE) z = v[BATCH];
    }
    if constexpr (SQUARES) {
      if (!scaled) {
        if constexpr (ROUNDS > 1) {
#pragma unroll 1
          for (int r = 0; r < ceil_div(PARTS_OF_BLOCK, 32); r++) {
            float v[1];
            entry_get(
                v, [&](int) { return entry(part(r * 32 + c.lane)) + 64; },
                [&](int) { return r * 32 + c.lane < PARTS_OF_BLOCK; }, tag);
            z += v[0];
          }
        }
#pragma unroll
        for (int o = WIDTH / 2; o > 0; o >>= 1) z += __shfl_xor_sync(ALL, z, o);
        g.scale = rsqrtf(z * (1.f / P::K) + __uint_as_float(c.field(G_EPS)));
      }
    }
    y += __shfl_xor_sync(ALL, y, 8);
    y += __shfl_xor_sync(ALL, y, 16);
    if constexpr (P::NORM) y *= g.scale;
    P::ending(g.end, [&](auto e) { finish<decltype(e)>(c, g, row, y); });
  }

  /// Norm weights of one unit, as loaded: nothing waits for them before x is there.
  struct NormUnit {
    static constexpr bool HALF = sizeof(typename P::Norm) == 2;
    u32 raw[HALF ? UNIT / 2 : UNIT];

    __device__ __forceinline__ void load(const typename P::Norm* p, int e, bool norm) {
#pragma unroll
      for (int j = 0; j < (HALF ? UNIT / 2 : UNIT); j++) {
        raw[j] = e < 0 ? 0u : HALF ? 0x3f803f80u : 0x3f800000u;
        if (norm && e >= 0) raw[j] = __ldg(reinterpret_cast<const u32*>(p + e) + j);
      }
    }

    __device__ __forceinline__ void get(float (&w)[UNIT]) const {
#pragma unroll
      for (int j = 0; j < UNIT; j++) w[j] = !HALF ? __uint_as_float(raw[j]) : j & 1 ? high(raw[j / 2]) : low(raw[j / 2]);
    }
  };

  /// Rounds (bf16 weights) and stores one unit of x to the stage; returns its sum of squares before the norm weights.
  static __device__ __forceinline__ float stage_unit(unsigned char* to, const float (&x)[UNIT], const NormUnit& norm) {
    float z = 0.f, v[UNIT], w[UNIT];
    if constexpr (P::NORM) norm.get(w);
#pragma unroll
    for (int j = 0; j < UNIT; j++) {
      if constexpr (P::NORM) z = fmaf(x[j], x[j], z);
      v[j] = P::NORM ? x[j] * w[j] : x[j];
    }
    if constexpr (sizeof(W) == 2) {
      u32* p = reinterpret_cast<u32*>(to);
#pragma unroll
      for (int j = 0; j < UNIT / 2; j++) p[j] = pack(v[2 * j], v[2 * j + 1]);
    } else {
      float* p = reinterpret_cast<float*>(to);
#pragma unroll
      for (int j = 0; j < UNIT; j++) p[j] = v[j];
    }
    return z;
  }

  /// The norm weights of N units; 1 without a norm, 0 where there is no column.
  template <int N, class At>
  static __device__ __forceinline__ void load_norm(const Cta& c, u32 norm, NormUnit (&w)[N], At column) {
    if constexpr (P::NORM) {
      const auto* p = reinterpret_cast<const typename P::Norm*>(c.a.fixed + (u64)norm * 16);
#pragma unroll
      for (int i = 0; i < N; i++) w[i].load(p, column(i), norm != 0);
    }
  }

  static __device__ __forceinline__ GemvRun prepare(const Cta& c) {
    GemvRun g;
    g.tile = c.field(G_TILE);
    g.row0 = (int)c.field(LO) * g.tile;
    g.row1 = min((int)c.field(HI) * g.tile, (int)c.field(G_N));
    g.end = c.field(G_END);
    g.out = c.field(G_OUT), g.out_use = c.field(G_OUT_USE);
    g.in = c.field(G_IN), g.in_use = c.field(G_IN_USE);
    g.res = c.field(G_RES), g.res_use = c.field(G_RES_USE);
    g.best = 0, g.best_tile = -1, g.bias = nullptr, g.residual = nullptr;
    if constexpr (P::BIAS) {
      if (c.field(G_BIAS)) g.bias = c.a.fixed + (u64)c.field(G_BIAS) * 16;
    }
    g.scale = c.field(G_NORM) ? 0.f : 1.f;
    return g;
  }

  /// Whether this is a language-model head in a step whose next token is given.
  static __device__ __forceinline__ bool skips(const Cta& c) {
    bool head = false;
    if constexpr (SKIPS && P::LEAVES_CANDIDATES) {
      if (next_given(c)) P::ending(c.field(G_END), [&](auto e) { head = decltype(e)::EPILOGUE == LOGITS; });
    }
    return head;
  }

  /// A head without its product, by the consumers: it polls x and publishes every word that it owes, so that everyone
  /// goes on as always; only the values are none. The loader leaves its weights out.
  static __device__ __forceinline__ void skip(Cta& c) {
    constexpr int LOADS = 4, TOTAL = ceil_div(P::K, UNIT);
    const View<X> x = view<X>(c, c.field(G_X), c.field(G_X_USE));
#pragma unroll 1
    for (int first = c.thread(); first < TOTAL; first += LOADS * THREADS) {
      float v[LOADS][UNIT];
      fetch<X, LOADS>(c, x, v, [&](int i) { return first + i * THREADS < TOTAL ? (first + i * THREADS) * UNIT : -1; });
    }
    AMK_FRESH(c);
    meet();
    P::ending(c.field(G_END), [&](auto e) {
      using E = decltype(e);
      if constexpr (E::EPILOGUE == LOGITS) {
        const int tile = c.field(G_TILE), lo = c.field(LO), hi = c.field(HI);
        if constexpr (E::Out::SPACE == FLAGGED) {
          const View<typename E::Out> out = view<typename E::Out>(c, c.field(G_OUT), c.field(G_OUT_USE));
          const int end = min(hi * tile, (int)c.field(G_N));
#pragma unroll 1
          for (int r = lo * tile + 2 * c.thread(); r < end; r += 2 * THREADS) put_two(out, r, 0.f, 0.f, r + 1 < end);
        }
        const View<typename E::Cand> cand = view<typename E::Cand>(c, c.field(G_CAND), c.field(G_CAND_USE));
#pragma unroll 1
        for (int t = lo + c.thread(); t < hi; t += THREADS) put_two(cand, 2 * t, 0.f, 0.f);
      }
    });
    meet();
  }

  /// By the consumers.
  static __device__ __forceinline__ void run(Cta& c) {
    if (skips(c)) {
      skip(c);
      return;
    }
    const View<X> x = view<X>(c, c.field(G_X), c.field(G_X_USE));
    const u32 norm = c.field(G_NORM);
    if constexpr (P::PRIVATE) {
      const int tile = c.field(G_TILE), row0 = (int)c.field(LO) * tile;
      const int blocks = (min((int)c.field(HI) * tile, (int)c.field(G_N)) - row0 + 7) >> 3;
      if constexpr (ROTATING) {
        if (blocks * P::SLICES <= BRIEF * WARPS)
          run_brief(c, x, norm, blocks * P::SLICES);
        else
          run_rotating(c, x, norm, blocks);
      } else
        run_private(c, x, norm, blocks);
      c.phase = (u32)(c.phase + blocks * P::SLICES) % WARPS;
      c.block += blocks;
    } else {
      GemvRun g = prepare(c);
      const int blocks = (g.row1 - g.row0 + 7) >> 3;
      run_shared(c, g, x, norm, blocks);
      c.phase = (u32)(c.phase + blocks * P::SLICES) % WARPS;
      c.block += blocks;
      c.entry = (c.entry + blocks * P::SLICES) % ENTRIES;
      if constexpr (P::LEAVES_CANDIDATES) {
        P::ending(g.end, [&](auto e) { candidates<decltype(e), false>(c, g); });
        c.apart = false;
      }
    }
  }

  /// By the finishers.
  static __device__ __forceinline__ void complete(Cta& c) {
    if (skips(c)) return;
    GemvRun g = prepare(c);
    const int blocks = (g.row1 - g.row0 + 7) >> 3, me = c.warp - WARPS - 1;
    volatile u32* progress = reinterpret_cast<volatile u32*>(smem + PROGRESS) + me;
    if constexpr (P::PRIVATE) {
      int b = (u32)(me + FINISHERS - (g.row0 >> 3) % FINISHERS) % FINISHERS;  // always the same warp for the same rows
      load_bias(c, g, g.row0 + b * 8);
      if constexpr (ROTATING) {
        const volatile u32* readers = reinterpret_cast<const volatile u32*>(smem + READERS);
        while (!__all_sync(ALL, c.lane >= WARPS || (int)(readers[c.lane < WARPS ? c.lane : 0] - c.block) >= 0)) {
        }
      }
#pragma unroll 1
      for (; b < blocks; b += FINISHERS) {
        const u32 tag = c.block + b;
        if (c.lane == 0) *progress = tag;
        collect(c, g, g.row0 + b * 8, [&](int i) { return private_entry(tag, i); }, tag);
        __syncwarp();
        load_bias(c, g, g.row0 + (b + FINISHERS) * 8);
      }
    }
    c.block += blocks;
    if constexpr (P::PRIVATE && P::LEAVES_CANDIDATES) {
      P::ending(g.end, [&](auto e) { candidates<decltype(e), true>(c, g); });
    }
#if AMK_COUNTERS
    __syncwarp();
    if (c.lane == 0) store_release(progress, c.block);  // a signal may follow, which passes on what was written
#else
    if (c.lane == 0) *progress = c.block;
#endif
  }

  /// The warp's next slot, into registers where it fits them; then the loader may have its place.
  static __device__ __forceinline__ void take(Cta& c, typename D::Slot& slot) {
    slot.load(slot_wait(c), c.lane);
    if constexpr (D::Slot::HELD) slot_free(c);
  }

  static __device__ __forceinline__ void run_private(Cta& c, const View<X>& x, u32 norm, int blocks) {
    constexpr int PER = ceil_div(UNITS, 32);  // units of one slice that a lane polls
    constexpr int LOADS = TURNS * PER;
    const int lane = here(c.lane);
    const int slice = c.warp >= c.phase ? c.warp - c.phase : c.warp + WARPS - c.phase;
    unsigned char* mine = smem + STAGE + c.warp * PRIVATE_BYTES;  // the same in every instruction
    static_assert(TURNS * SLICE_BYTES <= PRIVATE_BYTES, "the emitter counts the same bytes");
    c.apart = true;
    auto column = [&](int i) {
      const int u = lane + (i % PER) * 32, col = (slice + (i / PER) * WARPS) * SLOT_COLUMNS + u * UNIT;
      const bool none = (UNITS % 32 != 0 && u >= UNITS) || (P::K % SLOT_COLUMNS != 0 && col >= P::K);
      return none ? -1 : col;
    };
    float v[LOADS][UNIT];
    NormUnit w[LOADS];
    load_norm(c, norm, w, column);
    fetch<X, LOADS>(c, x, v, column);
    AMK_FRESH(c);
    float z = 0.f;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      const int u = lane + (i % PER) * 32;
      if (UNITS % 32 == 0 || u < UNITS)
        z += stage_unit(mine + (i / PER) * SLICE_BYTES + u * UNIT * sizeof(W), v[i], w[i]);
    }
    __syncwarp();
    constexpr int KEPT = P::IN_REGISTERS ? TURNS * D::CHUNKS : 1;
    typename D::X kept[KEPT];
    const auto* staged = reinterpret_cast<const typename D::X*>(mine) + (lane & 3);
    if constexpr (P::IN_REGISTERS) {
#pragma unroll
      for (int j = 0; j < KEPT; j++) kept[j] = staged[j * 4];
    }
    if constexpr (P::NORM) z = warp_sum(z);
    typename D::Slot slot;
    if (blocks > 0) take(c, slot);
#pragma unroll 1
    for (int b = 0; b < blocks; b++) {
      D d;
#pragma unroll(P::IN_REGISTERS ? TURNS : 1)
      for (int i = 0; i < TURNS; i++) {
        if constexpr (P::IN_REGISTERS)
          d.add(slot, lane, [&](int j) { return kept[i * D::CHUNKS + j]; });
        else
          d.add(slot, lane, [&](int j) { return staged[(i * D::CHUNKS + j) * 4]; });
        if constexpr (!D::Slot::HELD) slot_free(c);
        if (i < TURNS - 1) take(c, slot);
      }
      const u32 tag = c.block + b, to = private_entry(tag, slice);
      while ((int)(tag - c.reached) >= LEAD) c.reached = slowest_finisher();  // the entry is free
      d.put(to, lane, tag);
      if constexpr (P::NORM) {
        if (lane == 4) entry_put(to + 64, z, tag);
      }
      if (b + 1 < blocks) take(c, slot);
    }
  }

  /// A rotating gemv of at most BRIEF slots a warp: x is polled slot by slot.
  static __device__ __forceinline__ void run_brief(Cta& c, const View<X>& x, u32 norm, int total) {
    constexpr int PER = ceil_div(UNITS, 32), LOADS = BRIEF * PER;
    const int lane = here(c.lane);
    const int first = c.warp >= c.phase ? c.warp - c.phase : c.warp + WARPS - c.phase;
    unsigned char* mine = smem + STAGE + c.warp * PRIVATE_BYTES;
    static_assert(BRIEF * SLICE_BYTES <= PRIVATE_BYTES, "a rotating gemv has at least BRIEF slices");
    c.apart = true;
    auto there = [&](int i) { return first + i * WARPS < total; };
    auto column = [&](int i) {
      const int u = lane + i % PER * 32, col = (first + i / PER * WARPS) % P::SLICES * SLOT_COLUMNS + u * UNIT;
      const bool none = (UNITS % 32 != 0 && u >= UNITS) || (P::K % SLOT_COLUMNS != 0 && col >= P::K);
      return none || !there(i / PER) ? -1 : col;
    };
    float v[LOADS][UNIT];
    NormUnit w[LOADS];
    load_norm(c, norm, w, column);
    fetch<X, LOADS>(c, x, v, column);
    AMK_FRESH(c);
    __syncwarp();
    if (lane == 0) reinterpret_cast<volatile u32*>(smem + READERS)[c.warp] = c.block;
    float z[BRIEF] = {};
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      const int u = lane + i % PER * 32;
      if (there(i / PER) && (UNITS % 32 == 0 || u < UNITS))
        z[i / PER] += stage_unit(mine + i / PER * SLICE_BYTES + u * UNIT * sizeof(W), v[i], w[i]);
    }
    __syncwarp();
    const auto* staged = reinterpret_cast<const typename D::X*>(mine) + (lane & 3);
#pragma unroll
    for (int i = 0; i < BRIEF; i++) {
      if (!there(i)) break;
      const int t = first + i * WARPS, b = t / P::SLICES, s = t % P::SLICES;
      D d;
      typename D::Slot slot;
      take(c, slot);
      d.add(slot, lane, [&](int j) { return staged[(i * D::CHUNKS + j) * 4]; });
      if constexpr (!D::Slot::HELD) slot_free(c);
      if constexpr (P::NORM) z[i] = warp_sum(z[i]);
      const u32 tag = c.block + b, to = private_entry(tag, s);
      while ((int)(tag - c.reached) >= LEAD) c.reached = slowest_finisher();  // the entry is free
      d.put(to, lane, tag);
      if constexpr (P::NORM) {
        if (lane == 4) entry_put(to + 64, z[i], tag);
      }
    }
  }

  static __device__ __forceinline__ void run_rotating(Cta& c, const View<X>& x, u32 norm, int blocks) {
    constexpr int PER = ceil_div(UNITS, 32), LOADS = P::SLICES * PER;
    const int first = c.warp >= c.phase ? c.warp - c.phase : c.warp + WARPS - c.phase, total = blocks * P::SLICES;
    unsigned char* mine = smem + STAGE + c.warp * PRIVATE_BYTES;
    float* squares = reinterpret_cast<float*>(mine + P::SLICES * SLICE_BYTES);
    static_assert(P::SLICES * (SLICE_BYTES + 4) <= PRIVATE_BYTES, "the emitter counts the same bytes");
    c.apart = true;
    u32 needed = 0;
#pragma unroll
    for (int i = 0; i < P::SLICES; i++)
      if (first + i * WARPS < total) needed |= 1u << (first + i * WARPS) % P::SLICES;
    auto column = [&](int i) {
      const int u = c.lane + (i % PER) * 32, col = i / PER * SLOT_COLUMNS + u * UNIT;
      const bool none = (UNITS % 32 != 0 && u >= UNITS) || (P::K % SLOT_COLUMNS != 0 && col >= P::K);
      return none || !(needed >> i / PER & 1) ? -1 : col;
    };
    float v[LOADS][UNIT];
    NormUnit w[LOADS];
    load_norm(c, norm, w, column);
    fetch<X, LOADS>(c, x, v, column);
    AMK_FRESH(c);
    __syncwarp();
    if (c.lane == 0) reinterpret_cast<volatile u32*>(smem + READERS)[c.warp] = c.block;
#pragma unroll
    for (int s = 0; s < P::SLICES; s++) {
      if (!(needed >> s & 1)) continue;
      float z = 0.f;
#pragma unroll
      for (int i = 0; i < PER; i++) {
        const int u = c.lane + i * 32;
        if (UNITS % 32 == 0 || u < UNITS)
          z += stage_unit(mine + s * SLICE_BYTES + u * UNIT * sizeof(W), v[s * PER + i], w[s * PER + i]);
      }
      if constexpr (P::NORM) {
        z = warp_sum(z);
        if (c.lane == 4) squares[s] = z;
      }
    }
    __syncwarp();
    const auto* staged = reinterpret_cast<const typename D::X*>(mine) + (c.lane & 3);
#pragma unroll 1
    for (int t = first; t < total; t += WARPS) {
      const int b = t / P::SLICES, s = t % P::SLICES;
      D d;
      typename D::Slot slot;
      take(c, slot);
      d.add(slot, c.lane, [&](int j) { return staged[(s * D::CHUNKS + j) * 4]; });
      if constexpr (!D::Slot::HELD) slot_free(c);
      const u32 tag = c.block + b, to = private_entry(tag, s);
      while ((int)(tag - c.reached) >= LEAD) c.reached = slowest_finisher();  // the entry is free
      d.put(to, c.lane, tag);
      if constexpr (P::NORM) {
        if (c.lane == 4) entry_put(to + 64, squares[s], tag);
      }
    }
  }

  static __device__ __forceinline__ void run_shared(Cta& c, GemvRun& g, const View<X>& x, u32 norm, int blocks) {
    constexpr int TOTAL = P::SLICES * UNITS, LOADS = ceil_div(TOTAL, THREADS) < 8 ? ceil_div(TOTAL, THREADS) : 8;
    unsigned char* stage = smem + STAGE;
    float* turns = reinterpret_cast<float*>(smem + TURNS_AT);
    int t = c.warp >= c.phase ? c.warp - c.phase : c.warp + WARPS - c.phase;  // this warp's next slot
    enter(c);
    load_bias(c, g, g.row0 + t / P::SLICES * 8);
    float z = 0.f;
#pragma unroll 1
    for (int first = c.thread(); first - c.lane < TOTAL; first += LOADS * THREADS) {
      float v[LOADS][UNIT];
    NormUnit w[LOADS];
      auto column = [&](int i) {
        const int col = (first + i * THREADS) * UNIT;
        return col < P::K ? col : -1;
      };
      load_norm(c, norm, w, column);
      fetch<X, LOADS>(c, x, v, column);
#pragma unroll
      for (int i = 0; i < LOADS; i++)
        if (first + i * THREADS < TOTAL)
          z += stage_unit(stage + (first + i * THREADS) * UNIT * sizeof(W), v[i], w[i]);
    }
    // rows of other SMs are all read before any result is published
    P::ending(g.end, [&](auto e) {
      using E = decltype(e);
      if constexpr (E::EPILOGUE == RESIDUAL && E::In::SPACE != LOCAL) {
        float* rows = reinterpret_cast<float*>(stage + P::SLICES * SLICE_BYTES);
        g.residual = rows;
#pragma unroll 1
        for (int r = g.row0 + c.thread(); r < g.row1; r += THREADS)
          rows[r - g.row0] = fetch_one(c, view<typename E::In>(c, g.in, g.in_use), r);
      }
    });
    AMK_FRESH(c);
    if constexpr (P::NORM) {
      z = block_sum(c, z, turns);
      if (norm) g.scale = rsqrtf(z / P::K + __uint_as_float(c.field(G_EPS)));
    } else {
      meet();
    }
    const auto* staged = reinterpret_cast<const typename D::X*>(stage) + (c.lane & 3);
#pragma unroll 1
    for (; t < blocks * P::SLICES; t += WARPS) {
      const int b = t / P::SLICES, s = t % P::SLICES;
      D d;
      typename D::Slot slot;
      take(c, slot);
      d.add(slot, c.lane, [&](int j) { return staged[(s * D::CHUNKS + j) * 4]; });
      if constexpr (!D::Slot::HELD) slot_free(c);
      const u32 tag = c.block + b, entry = (c.entry + b * P::SLICES) % ENTRIES;
      d.put(entry_address(entry + s), c.lane, tag);
      if (s == P::SLICES - 1)
        collect(c, g, g.row0 + b * 8, [&](int i) { return entry_address(entry + i); }, tag);
      load_bias(c, g, g.row0 + (t + WARPS) / P::SLICES * 8);
    }
    meet();
  }

  /// The best of each tile, once all warps that finish blocks are done.
  template <class E, bool BY_FINISHERS>
  static __device__ __forceinline__ void candidates(Cta& c, GemvRun& g) {
    if constexpr (E::EPILOGUE == LOGITS) {
      auto all = [] { BY_FINISHERS ? meet_finishers() : meet(); };
      if constexpr (E::WHOLE_BLOCKS) flush(g);
      all();
      const int lo = c.field(LO), tiles = (int)c.field(HI) - lo;
      const View<typename E::Cand> cand = view<typename E::Cand>(c, c.field(G_CAND), c.field(G_CAND_USE));
#pragma unroll 1
      for (int i = BY_FINISHERS ? c.thread() - THREADS - 32 : c.thread(); i < tiles; i += BY_FINISHERS ? FINISHERS * 32 : THREADS) {
        const u64 k = tile_best()[i];
        put_two(cand, 2 * (lo + i), rank_value(k), (float)rank_row(k));
        tile_best()[i] = 0;
      }
      all();
    }
  }
};
