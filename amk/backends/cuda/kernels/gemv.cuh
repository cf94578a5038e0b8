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
  float bias_next[2];  // of this lane's rows in the next block that the warp finishes
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

/// Where ending E writes and reads.
template <class E>
struct Places {
  View<typename E::Out> out;
  View<typename E::In> in;
  View<typename E::Res> res;
};

template <class E>
__device__ __forceinline__ Places<E> places(const Cta& c, const GemvRun& g) {
  Places<E> p;
  p.out = view<typename E::Out>(c, g.out, g.out_use);
  if constexpr (E::EPILOGUE == RESIDUAL) {
    p.in = view<typename E::In>(c, g.in, g.in_use);
    if constexpr (E::RES_OUT) p.res = view<typename E::Res>(c, g.res, g.res_use);
  }
  return p;
}

/// What the first four lanes need of a block before they have its sums: lane l has rows r = row + 2 l and r + 1.
template <class E>
struct Rows {
  int r;
  bool valid, two;
  float2 rotation;
  u64* word;  // of the result, where a word holds two of its elements
};

template <class E>
__device__ __forceinline__ Rows<E> rows_of(const Cta& c, const GemvRun& g, const Places<E>& p, int row) {
  Rows<E> x;
  x.r = here(row + 2 * (c.lane & 3));
  x.valid = c.lane < 4 && x.r < g.row1, x.two = x.r + 1 < g.row1;
  x.rotation = make_float2(1.f, 0.f);
  if constexpr (E::EPILOGUE == ROPE) {
    const u32 at = (u32)x.r % E::HEAD_DIM;
    if (x.r < E::ROTATED && (E::ROTARY == E::HEAD_DIM || at < E::ROTARY))
      x.rotation = reinterpret_cast<const float2*>(smem + ROPES + E::ROPE_AT)[at >> 1];
  }
  if constexpr (E::Out::SPACE == FLAGGED && E::Out::HALF)
    x.word = static_cast<u64*>(here(word_at(p.out, (E::EPILOGUE == GATED ? x.r >> 1 : x.r) / 2)));
  return x;
}

/// What ending E adds to the rows.
template <class E>
__device__ __forceinline__ float2 residual(const Cta& c, const GemvRun& g, const Places<E>& p, const Rows<E>& x) {
  float2 y = make_float2(0.f, 0.f);
  if constexpr (E::EPILOGUE == RESIDUAL) {
    auto at = [&](int r) { return E::In::SPACE == LOCAL ? fetch_one(c, p.in, r) : g.residual[r - g.row0]; };
    if (x.valid) y.x = at(x.r);
    if (x.valid && x.two) y.y = at(x.r + 1);
  }
  return y;
}

/// Writes two neighboring results.
template <class E>
__device__ __forceinline__ void put_rows(const Places<E>& p, const Rows<E>& x, float a, float b) {
  if constexpr (E::Out::SPACE == FLAGGED && E::Out::HALF)
    store_word(x.word, pack(a, x.two ? b : 0.f), p.out.epoch);
  else
    put_two(p.out, x.r, a, b, x.two);
}

/// Epilogue E of the block that starts at `row`, whose sums are y.
template <class E>
__device__ __forceinline__ void finish(const Cta& c, GemvRun& g, const Places<E>& p, const Rows<E>& x, int row, float (&y)[2],
                                       float2 in) {
#pragma unroll
  for (int j = 0; j < 2; j++) {
    if constexpr (E::BIAS) y[j] += g.bias_next[j];
    if constexpr (E::SCALE != 1.f) y[j] *= E::SCALE;
  }
  if constexpr (E::EPILOGUE == NONE) {
    if (x.valid) put_rows(p, x, y[0], y[1]);
  } else if constexpr (E::EPILOGUE == ROPE) {
    const float2 cs = x.rotation;
    if (x.valid) put_rows(p, x, y[0] * cs.x - y[1] * cs.y, y[1] * cs.x + y[0] * cs.y);
  } else if constexpr (E::EPILOGUE == ACTIVATION) {
    if (x.valid) put_rows(p, x, activate<E::KIND>(y[0]), activate<E::KIND>(y[1]));
  } else if constexpr (E::EPILOGUE == GATED) {
    const float z = activate<E::KIND>(y[0]) * y[1];
    if constexpr (E::Out::SPACE == FLAGGED && E::Out::HALF) {
      const float next = __shfl_down_sync(ALL, z, 1);
      if (x.valid && !(x.r & 2)) store_word(x.word, pack(z, x.r + 2 < g.row1 ? next : 0.f), p.out.epoch);
    } else if (x.valid) {
      put_one(p.out, x.r >> 1, z);
    }
  } else if constexpr (E::EPILOGUE == RESIDUAL) {
    y[0] += in.x, y[1] += in.y;
    if (x.valid) {
      put_rows(p, x, y[0], y[1]);
      if constexpr (E::RES_OUT) {
        put_one(p.res, x.r, y[0]);
        if (x.two) put_one(p.res, x.r + 1, y[1]);
      }
    }
  } else {
    if constexpr (E::SOFTCAP != 0.f) y[0] = capped(y[0], E::SOFTCAP), y[1] = capped(y[1], E::SOFTCAP);
    if (x.valid) put_rows(p, x, y[0], y[1]);
    const u64 k0 = rank(y[0], x.r), k1 = rank(y[1], x.r + 1);
    if constexpr (E::WHOLE_BLOCKS) {  // a block lies in one tile: keep its best until the tile ends
      const int t = (row - g.row0) / g.tile;
      if (t != g.best_tile) {
        flush(g);
        g.best_tile = t;
      }
      if (x.valid && k0 > g.best) g.best = k0;
      if (x.valid && x.two && k1 > g.best) g.best = k1;
    } else if (x.valid) {
      atomicMax(tile_best() + (x.r - g.row0) / g.tile, k0);
      if (x.two) atomicMax(tile_best() + (x.r + 1 - g.row0) / g.tile, k1);
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
  static constexpr int PARTS_OF_BLOCK = P::PRIVATE && !ROTATING ? WARPS : P::SLICES;
  static constexpr int TURNS = P::PRIVATE && !ROTATING ? P::SLICES / WARPS : 1;  // slots of one block that a warp takes

  static __device__ __forceinline__ void load_bias(const Cta& c, GemvRun& g, int row) {
    if constexpr (P::BIAS) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int r = row + 2 * (c.lane & 3) + j;
        g.bias_next[j] = 0.f;
        if (g.bias && r < g.row1) g.bias_next[j] = (float)reinterpret_cast<const typename P::Bias*>(g.bias)[r];
      }
    }
  }

  /// By a finisher of a rotating gemv: the norm's scale, from what every consumer thread has left beside the stage.
  static __device__ __forceinline__ float scale_together(const Cta& c, int side, u32 tag) {
    constexpr int WORDS = P::SLICES * UNITS < THREADS ? P::SLICES * UNITS : THREADS, N = ceil_div(WORDS, 32);
    const u32 from = shared(smem + SQUARES) + side * SQUARES_BYTES;
    u64 v[N];
    for (u32 polls = 0;;) {
      bool again = false;
#pragma unroll
      for (int i = 0; i < N; i++) v[i] = entry_word(from + min(c.lane + i * 32, WORDS - 1) * 8);
#pragma unroll
      for (int i = 0; i < N; i++) again |= (u32)(v[i] >> 32) != tag;
      if (!__any_sync(ALL, again) || give_up_together(c, polls, ON_SQUARES, 0)) break;
    }
    float z = 0.f;
#pragma unroll
    for (int i = 0; i < N; i++) z += WORDS % 32 && c.lane + i * 32 >= WORDS ? 0.f : value(v[i]);
    return rsqrtf(warp_sum(z) * (1.f / P::K) + __uint_as_float(c.field(G_EPS)));
  }

  /// Adds up the block's entries, in order, and finishes it. Every lane reads what it needs of all entries, two rows: on
  /// the way of a hop, reads that overlap are sooner there than shuffles that do not.
  template <class E, class Entry>
  static __device__ __forceinline__ void collect(Cta& c, GemvRun& g, const Places<E>& p, int row, Entry entry, u32 tag) {
    const bool squares = P::NORM && P::PRIVATE && !ROTATING && g.scale == 0.f;
    const Rows<E> x = rows_of<E>(c, g, p, row);
    entries_wait<PARTS_OF_BLOCK>(c, row, entry, squares, tag);
    const float2 in = residual<E>(c, g, p, x);
    float y[2] = {};
    entry_sums<PARTS_OF_BLOCK>(y, [&](int i) { return entry(i) + (c.lane & 3) * 16; });
    if constexpr (P::NORM && P::PRIVATE && !ROTATING) {
      if (squares) {
        const float z = entry_sum<PARTS_OF_BLOCK>([&](int i) { return entry(i) + 64; });
        g.scale = rsqrtf(z * (1.f / P::K) + __uint_as_float(c.field(G_EPS)));
      }
    }
    if constexpr (P::NORM) y[0] *= g.scale, y[1] *= g.scale;
    finish<E>(c, g, p, x, row, y, in);
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

  /// Rounds (bf16 weights) and stores unit u of x to the stage, in the order that products read; returns its sum of
  /// squares before the norm weights.
  static __device__ __forceinline__ float stage_unit(unsigned char* stage, int u, const float (&x)[UNIT], const NormUnit& norm) {
    float z = 0.f, v[UNIT], w[UNIT];
    if constexpr (P::NORM) norm.get(w);
#pragma unroll
    for (int j = 0; j < UNIT; j++) {
      if constexpr (P::NORM) z = fmaf(x[j], x[j], z);
      v[j] = P::NORM ? x[j] * w[j] : x[j];
    }
    if constexpr (sizeof(W) == 2) {
#pragma unroll
      for (int j = 0; j < UNIT / 2; j++)
        reinterpret_cast<u32*>(stage)[D::place(u * (UNIT / 2) + j)] = pack(v[2 * j], v[2 * j + 1]);
    } else {
      float* p = reinterpret_cast<float*>(stage) + u * UNIT;
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
      if constexpr (ROTATING)
        run_together(c, x, norm, blocks);
      else
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
    if constexpr (P::PRIVATE) {
      const int first = (u32)(me + FINISHERS - (g.row0 >> 3) % FINISHERS) % FINISHERS;  // always the same warp for the same rows
      load_bias(c, g, g.row0 + first * 8);
      P::ending(g.end, [&](auto e) {
        using E = decltype(e);
        const Places<E> p = places<E>(c, g);
        if constexpr (P::NORM && ROTATING) {
          if (first < blocks && g.scale == 0.f) g.scale = scale_together(c, c.side, c.block);
        }
#pragma unroll 1
        for (int b = first; b < blocks; b += FINISHERS) {
          const u32 tag = c.block + b;
          progress_put(c, me, tag);
          collect<E>(c, g, p, g.row0 + b * 8, [&](int i) { return private_entry(tag, i); }, tag);
          __syncwarp();
          load_bias(c, g, g.row0 + (b + FINISHERS) * 8);
        }
      });
    }
    if constexpr (ROTATING) c.side ^= 1;
    c.block += blocks;
    if constexpr (P::PRIVATE && P::LEAVES_CANDIDATES) {
      P::ending(g.end, [&](auto e) { candidates<decltype(e), true>(c, g); });
    }
    progress_put<RELEASED>(c, me, c.block);
  }

  /// The warp's next slot, into registers where it fits them; then the loader may have its place.
  static __device__ __forceinline__ void take(Cta& c, typename D::Slot& slot) {
    slot.load(slot_wait(c), c.lane);
    if constexpr (D::Slot::HELD) slot_free(c, slot.read());
  }

  static __device__ __forceinline__ void run_private(Cta& c, const View<X>& x, u32 norm, int blocks) {
    constexpr int PER = ceil_div(UNITS, 32);  // units of one slice that a lane polls
    constexpr int LOADS = TURNS * PER;
    const int lane = here(c.lane);
    constexpr bool EARLY = D::Slot::HELD && TURNS == 1;  // the first weights wait for x; more of them would spill
    const int slice = c.warp >= c.phase ? c.warp - c.phase : c.warp + WARPS - c.phase;
    typename D::Slot slot;
    slot.clear();
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
    fetch_whole(c, x, v, column, [&] {
      load_norm(c, norm, w, column);
      if (EARLY && blocks > 0) take(c, slot);
    });
    AMK_FRESH(c);
    float z = 0.f;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      const int u = lane + (i % PER) * 32;
      if (UNITS % 32 == 0 || u < UNITS)
        z += stage_unit(mine + (i / PER) * SLICE_BYTES, u, v[i], w[i]);
    }
    __syncwarp();
    constexpr int KEPT = P::IN_REGISTERS ? TURNS * D::CHUNKS : 1;
    typename D::X kept[KEPT];
    const auto* staged = reinterpret_cast<const typename D::X*>(mine) + D::first(lane);
    if constexpr (P::IN_REGISTERS) {
#pragma unroll
      for (int j = 0; j < KEPT; j++) kept[j] = staged[j * D::STRIDE];
    }
    if constexpr (P::NORM) z = warp_sum(z);
    if (!EARLY && blocks > 0) take(c, slot);
#pragma unroll 1
    for (int b = 0; b < blocks; b++) {
      D d;
#pragma unroll(P::IN_REGISTERS ? TURNS : 1)
      for (int i = 0; i < TURNS; i++) {
        if constexpr (P::IN_REGISTERS)
          d.add(slot, lane, [&](int j) { return kept[i * D::CHUNKS + j]; });
        else
          d.add(slot, lane, [&](int j) { return staged[(i * D::CHUNKS + j) * D::STRIDE]; });
        if constexpr (!D::Slot::HELD) slot_free(c, d.read());
        if (i < TURNS - 1) take(c, slot);
      }
      const u32 tag = c.block + b, to = private_entry(tag, slice);
      reserve(c, tag);
      d.put(to, lane, tag);
      if constexpr (P::NORM) {
        if (lane == 4) entry_put(to + 64, z, tag);
      }
      if (b + 1 < blocks) take(c, slot);
    }
  }

  /// ROTATING: all warps together poll x, once; behind one barrier it lies in one of two stages, the other of which some
  /// warp may still read. The sums of squares are left to the finishers.
  static __device__ __forceinline__ void run_together(Cta& c, const View<X>& x, u32 norm, int blocks) {
    constexpr int TOTAL = P::SLICES * UNITS, LOADS = ceil_div(TOTAL, THREADS);
    constexpr int AHEAD = D::Slot::HELD ? 2 : 1;  // slots whose weights wait for x
    const int lane = here(c.lane), total = blocks * P::SLICES;
    const int first = c.warp >= c.phase ? c.warp - c.phase : c.warp + WARPS - c.phase;
    static_assert(P::SLICES * SLICE_BYTES <= TOGETHER_BYTES, "the emitter counts the same bytes");
    unsigned char* stage = smem + TOGETHER + c.side * TOGETHER_BYTES;
    const int unit = c.warp * 32 + lane;
    auto column = [&](int i) {
      const int u = unit + i * THREADS, col = u * UNIT;
      const bool none = (TOTAL % THREADS != 0 && u >= TOTAL) || (P::K % SLOT_COLUMNS != 0 && col >= P::K);
      return none ? -1 : col;
    };
    float v[LOADS][UNIT];
    NormUnit w[LOADS];
    typename D::Slot slot[AHEAD];
    int from[AHEAD];  // where the slot's x lies in the stage
    u32 to[AHEAD];    // where its sums go
    fetch_whole(c, x, v, column, [&] {
      load_norm(c, norm, w, column);
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        slot[i].clear();
        if (first + i * WARPS < total) take(c, slot[i]);
      }
      if constexpr (P::NORM) reach(c, c.settled);  // the finishers have read the squares that lie here
      reserve(c, c.block + min(first / P::SLICES, LEAD - 1));  // no later one: that would wait for this gemv's own blocks
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        const int t = first + i * WARPS, b = t / P::SLICES, s = t % P::SLICES;
        from[i] = here(s * D::CHUNKS * D::STRIDE + D::first(lane));
        to[i] = here(private_entry(c.block + b, s));
      }
    });
    float z = 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      const int u = unit + i * THREADS;
      if (TOTAL % THREADS == 0 || u < TOTAL) z += stage_unit(stage, u, v[i], w[i]);
    }
    if constexpr (P::NORM) {
      if (norm && unit < TOTAL) entry_put(shared(smem + SQUARES) + c.side * SQUARES_BYTES + unit * 8, z, c.block);
    }
    meet();
    AMK_FRESH(c);
    const auto* staged = reinterpret_cast<const typename D::X*>(stage);
#pragma unroll 1
    for (int t = first; t < total;) {
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        if (t >= total) break;
        const u32 tag = c.block + t / P::SLICES;
        D d;
        d.add(slot[i], lane, [&](int j) { return staged[from[i] + j * D::STRIDE]; });
        if constexpr (!D::Slot::HELD) slot_free(c, d.read());
        reserve(c, tag);
        d.put(to[i], lane, tag);
        const int next = t + AHEAD * WARPS;
        if (next < total) {
          take(c, slot[i]);
          from[i] = next % P::SLICES * D::CHUNKS * D::STRIDE + D::first(lane);
          to[i] = private_entry(c.block + next / P::SLICES, next % P::SLICES);
        }
        t += WARPS;
      }
    }
    c.side ^= 1;
    c.settled = c.recent, c.recent = c.block + blocks;
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
          z += stage_unit(stage, first + i * THREADS, v[i], w[i]);
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
    const auto* staged = reinterpret_cast<const typename D::X*>(stage) + D::first(c.lane);
#pragma unroll 1
    for (; t < blocks * P::SLICES; t += WARPS) {
      const int b = t / P::SLICES, s = t % P::SLICES;
      D d;
      typename D::Slot slot;
      take(c, slot);
      d.add(slot, c.lane, [&](int j) { return staged[(s * D::CHUNKS + j) * D::STRIDE]; });
      if constexpr (!D::Slot::HELD) slot_free(c, d.read());
      const u32 tag = c.block + b, entry = (c.entry + b * P::SLICES) % ENTRIES;
      d.put(entry_address(entry + s), c.lane, tag);
      if (s == P::SLICES - 1) {
        P::ending(g.end, [&](auto e) {
          using E = decltype(e);
          collect<E>(c, g, places<E>(c, g), g.row0 + b * 8, [&](int i) { return entry_address(entry + i); }, tag);
        });
      }
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
