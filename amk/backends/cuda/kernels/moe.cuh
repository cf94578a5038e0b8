// moe_gate_up and moe_down: rows of the matrices of the chosen experts times x.
//
// Which rows these are is known when the ids have arrived and not before, so they do not come through the ring: every
// lane loads 16 bytes of each of several rows, IN_FLIGHT loads at a time, in place and past the L1 cache.
//
// Tile shape: one warp, two neighboring results, which may share a flagged word: four rows of gate and up, or two rows of
// every choice. Partial sums stay in registers; lane i takes columns 16-byte unit i, i + 32, ... and a butterfly adds up
// the lanes, so the order of every sum is fixed.
//
// Synchronization contract: ids, x, weights of choices and residual rows are polled into the stage; the barrier behind
// them precedes every write. A barrier ends the instruction.

enum MoeField { X_X = 1, X_X_USE, X_OUT, X_OUT_USE, X_IDS, X_IDS_USE, X_MATRIX, X_BIAS, X_NORM, X_WEIGHTS, X_WEIGHTS_USE, X_IN, X_IN_USE, X_RES, X_RES_USE };

constexpr int IN_FLIGHT = 16;  ///< 16-byte loads of a lane

/// 16 bytes of a row of weights, which nobody reads again in this step.
__device__ __forceinline__ uint4 load_row(const unsigned char* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3},[%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}

/// The product of 16 bytes of weights of type W and as many of x.
template <class W>
__device__ __forceinline__ float dot(const uint4& w, const uint4& x) {
  if constexpr (sizeof(W) == 2) {
    float s = low(w.x) * low(x.x);
    s = fmaf(high(w.x), high(x.x), s), s = fmaf(low(w.y), low(x.y), s), s = fmaf(high(w.y), high(x.y), s);
    s = fmaf(low(w.z), low(x.z), s), s = fmaf(high(w.z), high(x.z), s);
    return fmaf(high(w.w), high(x.w), fmaf(low(w.w), low(x.w), s));
  } else {
    const float s = fmaf(__uint_as_float(w.y), __uint_as_float(x.y), __uint_as_float(w.x) * __uint_as_float(x.x));
    return fmaf(__uint_as_float(w.w), __uint_as_float(x.w), fmaf(__uint_as_float(w.z), __uint_as_float(x.z), s));
  }
}

/// What both kernels share: n elements of x in the stage, as weights of type W are.
template <class P>
struct MoeStage {
  using X = typename P::X;
  using W = typename P::Weight;
  static constexpr int UNIT = 16 / (int)sizeof(W);  ///< elements of one load
  static constexpr int UNITS = P::K / UNIT;         ///< loads of a row

  /// Polls n elements of x, times the norm weights if there are any; returns this thread's sum of their squares.
  template <bool NORM>
  static __device__ __forceinline__ float fill(const Cta& c, int n, u32 norm) {
    constexpr int BATCH = 4, STEP = X::UNIT;
    const View<X> x = view<X>(c, c.field(X_X), c.field(X_X_USE));
    W* stage = reinterpret_cast<W*>(smem + STAGE);
    float z = 0.f;
#pragma unroll 1
    for (int first = c.thread() * STEP; first < n; first += BATCH * THREADS * STEP) {
      auto at = [&](int i) { return first + i * THREADS * STEP < n ? first + i * THREADS * STEP : -1; };
      float v[BATCH][STEP];
      fetch<X, BATCH>(c, x, v, at);
#pragma unroll
      for (int i = 0; i < BATCH; i++) {
        if (at(i) < 0) continue;
        float w[STEP];
        if constexpr (NORM) load_fixed(reinterpret_cast<const typename P::Norm*>(c.a.fixed + (u64)norm * 16), at(i), w);
#pragma unroll
        for (int j = 0; j < STEP; j++) {
          if constexpr (NORM) z = fmaf(v[i][j], v[i][j], z);
          stage[at(i) + j] = (W)(NORM ? v[i][j] * w[j] : v[i][j]);
        }
      }
    }
    return z;
  }

  /// 16 bytes of the x in the stage.
  static __device__ __forceinline__ uint4 staged(int unit) { return reinterpret_cast<const uint4*>(smem + STAGE)[unit]; }

  /// The id of choice j; no value of it may lead out of the matrix.
  static __device__ __forceinline__ int id(const Cta& c, int j) {
    const View<typename P::Ids> ids = view<typename P::Ids>(c, c.field(X_IDS), c.field(X_IDS_USE));
    return (int)min((u32)fetch_int(c, ids, j), (u32)P::EXPERTS - 1);
  }

  /// Element `row` of the biases of all experts.
  static __device__ __forceinline__ float bias(const Cta& c, u64 row) {
    if constexpr (!P::BIAS) return 0.f;
    return (float)reinterpret_cast<const typename P::Bias*>(c.a.fixed + (u64)c.field(X_BIAS) * 16)[row];
  }

  /// Row `row` of the matrix of all experts.
  static __device__ __forceinline__ const unsigned char* row(const Cta& c, u64 row) {
    return c.a.fixed + (u64)c.field(X_MATRIX) * TABLE_ALIGN + row * (P::K * sizeof(W));
  }
};

template <class P>
struct MoeGateUp {
  using S = MoeStage<P>;

  /// silu(gate) * up, or the clamped form where there is a limit.
  static __device__ __forceinline__ float gated(float gate, float up) {
    if constexpr (P::LIMIT > 0.f) {
      gate = fminf(gate, P::LIMIT), up = fmaxf(fminf(up, P::LIMIT), -P::LIMIT);
      return gate / (1.f + expf(-P::ALPHA * gate)) * (up + 1.f);
    }
    return gate / (1.f + expf(-gate)) * up;
  }

  static __device__ __forceinline__ void run(Cta& c) {
    const int row0 = c.field(LO) * P::TILE, row1 = min((int)c.field(HI) * P::TILE, P::N);
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(X_OUT), c.field(X_OUT_USE));
    int* ids = reinterpret_cast<int*>(smem + STAGE + P::K * sizeof(typename S::W));
    enter(c);
    const float z = S::template fill<P::NORM>(c, P::K, c.field(X_NORM));
    const int first = row0 / P::WIDTH, last = (row1 - 1) / P::WIDTH;
    if (c.thread() >= first && c.thread() <= last) ids[c.thread()] = S::id(c, c.thread());
    float scale = 1.f;
    if constexpr (P::NORM)
      scale = rsqrtf(block_sum(c, z, reinterpret_cast<float*>(smem + TURNS_AT)) / P::K + P::EPS);
    else
      meet();
    AMK_FRESH(c);
#pragma unroll 1
    for (int r = row0 + 2 * c.warp; r < row1; r += 2 * WARPS) {
      const bool two = r + 1 < row1;
      const int next = two ? r + 1 : r;
      const u64 gates[2] = {2 * ((u64)ids[r / P::WIDTH] * P::WIDTH + r % P::WIDTH),
                            2 * ((u64)ids[next / P::WIDTH] * P::WIDTH + next % P::WIDTH)};
      const unsigned char* rows[2] = {S::row(c, gates[0]), S::row(c, gates[1])};  // gate, with up behind it
      float y[4] = {}, bias[4];
#pragma unroll
      for (int i = 0; i < 4; i++) bias[i] = S::bias(c, gates[i / 2] + (i & 1));
      constexpr int BATCH = IN_FLIGHT / 4;
#pragma unroll 1
      for (int u0 = c.lane; u0 < S::UNITS; u0 += 32 * BATCH) {
        uint4 w[BATCH][4];
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
          const int u = u0 + 32 * b;
#pragma unroll
          for (int i = 0; i < 4; i++)
            w[b][i] = u < S::UNITS ? load_row(rows[i / 2] + ((i & 1) * S::UNITS + u) * 16) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
          const int u = u0 + 32 * b;
          const uint4 x = S::staged(u < S::UNITS ? u : 0);
#pragma unroll
          for (int i = 0; i < 4; i++) y[i] += dot<typename S::W>(w[b][i], x);
        }
      }
#pragma unroll
      for (int i = 0; i < 4; i++) y[i] = warp_sum(y[i]) * scale + bias[i];
      if (c.lane == 0) put_two(out, r, gated(y[0], y[1]), gated(y[2], y[3]), two);
    }
    meet();
  }
};

template <class P>
struct MoeDown {
  using S = MoeStage<P>;

  static __device__ __forceinline__ void run(Cta& c) {
    const int row0 = c.field(LO) * P::TILE, row1 = min((int)c.field(HI) * P::TILE, P::N);
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(X_OUT), c.field(X_OUT_USE));
    int* ids = reinterpret_cast<int*>(smem + STAGE + P::CHOICES * P::K * sizeof(typename S::W));
    float* weights = reinterpret_cast<float*>(ids + P::CHOICES);
    float* residual = weights + P::CHOICES;
    enter(c);
    S::template fill<false>(c, P::CHOICES * P::K, 0);
    if (c.thread() < P::CHOICES) {
      const View<typename P::Weights> w = view<typename P::Weights>(c, c.field(X_WEIGHTS), c.field(X_WEIGHTS_USE));
      ids[c.thread()] = S::id(c, c.thread());
      weights[c.thread()] = fetch_one(c, w, c.thread());
    }
    if constexpr (P::RESIDUAL) {
      const View<typename P::In> in = view<typename P::In>(c, c.field(X_IN), c.field(X_IN_USE));
      for (int e = row0 + c.thread(); e < row1; e += THREADS) residual[e - row0] = fetch_one(c, in, e);
    }
    meet();
    AMK_FRESH(c);
#pragma unroll 1
    for (int r = row0 + 2 * c.warp; r < row1; r += 2 * WARPS) {
      const bool two = r + 1 < row1;
      const int apart = two ? S::UNITS * 16 : 0;
      float y[2] = {};
      constexpr int BATCH = IN_FLIGHT / 2, TOTAL = P::CHOICES * S::UNITS;
#pragma unroll 1
      for (int u0 = c.lane; u0 < TOTAL; u0 += 32 * BATCH) {
        uint4 w[BATCH][2];
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
          const int u = u0 + 32 * b;
          const unsigned char* p = S::row(c, (u64)ids[u < TOTAL ? u / S::UNITS : 0] * P::N + r) + u % S::UNITS * 16;
#pragma unroll
          for (int i = 0; i < 2; i++) w[b][i] = u < TOTAL ? load_row(p + i * apart) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
          const int u = u0 + 32 * b < TOTAL ? u0 + 32 * b : 0;
          const uint4 x = S::staged(u);
          const float weight = weights[u / S::UNITS];
#pragma unroll
          for (int i = 0; i < 2; i++) y[i] = fmaf(weight, dot<typename S::W>(w[b][i], x), y[i]);
        }
      }
      if constexpr (P::BIAS) {  // lane j adds that of choice j
        if (c.lane < P::CHOICES) {
          const u64 at = (u64)ids[c.lane] * P::N + r;
          y[0] = fmaf(weights[c.lane], S::bias(c, at), y[0]);
          if (two) y[1] = fmaf(weights[c.lane], S::bias(c, at + 1), y[1]);
        }
      }
#pragma unroll
      for (int i = 0; i < 2; i++) y[i] = warp_sum(y[i]);
      if (c.lane == 0) {
        if constexpr (P::RESIDUAL) {
          y[0] += residual[r - row0];
          if (two) y[1] += residual[r + 1 - row0];
        }
        if constexpr (P::RES_OUT) put_two(view<typename P::Res>(c, c.field(X_RES), c.field(X_RES_USE)), r, y[0], y[1], two);
        put_two(out, r, y[0], y[1], two);
      }
    }
    meet();
  }
};
