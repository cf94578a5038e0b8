// norm: rms_norm and layer_norm (CENTER) of parts of SIZE elements of x, for the rows of the tiles.
//
// Tile shape: one part is normalized by the whole block, or, where there are several, by a warp; every thread keeps its
// elements of the part, so that x is read once. Outputs go through the stage, one thread two neighboring elements, whose
// weights were fetched before x was awaited. Synchronization contract: all reads precede a barrier that precedes every
// write.

enum NormField { N_X = 1, N_X_USE, N_OUT, N_OUT_USE, N_WEIGHT, N_BIAS, N_IN, N_IN_USE, N_RES, N_RES_USE };

template <class P>
struct Norm {
  using X = typename P::X;
  static constexpr bool ALONE = P::SIZE == P::N;                  // one part
  static constexpr int TOGETHER = ALONE ? THREADS : 32;           // threads that share a part
  static constexpr int STEP = P::WHOLE_UNITS ? X::UNIT : 1;       // neighboring elements that a thread reads at once
  static constexpr int PER = ceil_div(P::SIZE, TOGETHER * STEP);  // such units of one part and thread
  static constexpr int BATCH = PER < 8 ? PER : 8, BATCHES = ceil_div(PER, BATCH);  // units in flight
  static constexpr int OUTS = ceil_div(P::ROWS, 2 * THREADS);     // pairs of results of a thread

  /// The thread's elements of the part that begins at element `first`; 0 where there is none.
  static __device__ __forceinline__ void read(const Cta& c, const View<X>& x, int first, int mine,
                                              float (&v)[BATCHES * BATCH][STEP]) {
#pragma unroll
    for (int b = 0; b < BATCHES; b++) {
      auto at = [&](int i) {
        const int e = (mine + (b * BATCH + i) * TOGETHER) * STEP;
        return e < P::SIZE ? first + e : -1;
      };
      if constexpr (P::WHOLE_UNITS) {
        float u[BATCH][X::UNIT];
        fetch<X, BATCH>(c, x, u, at);
#pragma unroll
        for (int i = 0; i < BATCH; i++)
#pragma unroll
          for (int j = 0; j < STEP; j++) v[b * BATCH + i][j] = u[i][j];
      } else {
#pragma unroll
        for (int i = 0; i < BATCH; i++) v[b * BATCH + i][0] = at(i) < 0 ? 0.f : fetch_one(c, x, at(i));
      }
    }
  }

  static __device__ __forceinline__ float sum(const Cta& c, float z, int turn) {
    if constexpr (ALONE)
      return block_sum(c, z, reinterpret_cast<float*>(smem + TURNS_AT) + turn * WARPS);
    else
      return warp_sum(z);
  }

  template <class T>
  static __device__ __forceinline__ float fixed(const Cta& c, u32 at, int e) {
    return (float)reinterpret_cast<const T*>(c.a.fixed + (u64)at * 16)[P::SHARED ? e % P::SIZE : e];
  }

  static __device__ __forceinline__ void run(Cta& c) {
    const View<X> x = view<X>(c, c.field(N_X), c.field(N_X_USE));
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(N_OUT), c.field(N_OUT_USE));
    const int row0 = c.field(LO) * P::TILE, row1 = min((int)c.field(HI) * P::TILE, P::N);
    float* stage = reinterpret_cast<float*>(smem + STAGE);
    enter(c);
    float weight[OUTS][2], bias[OUTS][2], rest[OUTS][2];
#pragma unroll
    for (int i = 0; i < OUTS; i++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int e = row0 + (c.thread() + i * THREADS) * 2 + j;
        weight[i][j] = bias[i][j] = rest[i][j] = 0.f;
        if (e >= row1) continue;
        weight[i][j] = fixed<typename P::Weight>(c, c.field(N_WEIGHT), e);
        if constexpr (P::BIAS) bias[i][j] = fixed<typename P::Bias>(c, c.field(N_BIAS), e);
        if constexpr (P::RES_IN) rest[i][j] = fetch_one(c, view<typename P::In>(c, c.field(N_IN), c.field(N_IN_USE)), e);
      }
    }
    const int mine = ALONE ? c.thread() : c.lane, first = row0 / P::SIZE, last = (row1 + P::SIZE - 1) / P::SIZE;
#pragma unroll 1
    for (int part = ALONE ? 0 : first + c.warp; part < last; part += ALONE ? 1 : WARPS) {
      float v[BATCHES * BATCH][STEP], mean = 0.f, z = 0.f;
      read(c, x, part * P::SIZE, mine, v);
      if constexpr (P::CENTER) {
#pragma unroll
        for (int i = 0; i < PER; i++)
#pragma unroll
          for (int j = 0; j < STEP; j++) mean += v[i][j];
        mean = sum(c, mean, 0) / P::SIZE;
      }
#pragma unroll
      for (int i = 0; i < PER; i++)
#pragma unroll
        for (int j = 0; j < STEP; j++) {
          if (!P::CENTER || (mine + i * TOGETHER) * STEP < P::SIZE) v[i][j] -= mean, z = fmaf(v[i][j], v[i][j], z);
        }
      const float scale = rsqrtf(sum(c, z, 1) / P::SIZE + P::EPS);
#pragma unroll
      for (int i = 0; i < PER; i++)
#pragma unroll
        for (int j = 0; j < STEP; j++) {
          const int at = (mine + i * TOGETHER) * STEP + j, e = part * P::SIZE + at;
          if (at < P::SIZE && e >= row0 && e < row1) stage[e - row0] = v[i][j] * scale;
        }
    }
    if constexpr (P::RES_IN) {
      u32 read = 0;
#pragma unroll
      for (int i = 0; i < OUTS; i++) read |= __float_as_uint(rest[i][0]) | __float_as_uint(rest[i][1]);
      if constexpr (P::In::SPACE == PLAIN) use(c, read);
    }
    meet();
#pragma unroll
    for (int i = 0; i < OUTS; i++) {
      const int e = row0 + (c.thread() + i * THREADS) * 2;
      if (e >= row1) continue;
      const bool two = e + 1 < row1;
      float y[2];
#pragma unroll
      for (int j = 0; j < 2; j++) y[j] = (j == 0 || two) ? stage[e + j - row0] * weight[i][j] + bias[i][j] + rest[i][j] : 0.f;
      put_two(out, e, y[0], y[1], two);
      if constexpr (P::RES_OUT) put_two(view<typename P::Res>(c, c.field(N_RES), c.field(N_RES_USE)), e, y[0], y[1], two);
    }
    meet();
  }
};
