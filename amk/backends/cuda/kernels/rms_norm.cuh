// rms_norm: out = x * weight / sqrt(mean(x^2) + EPS) for the rows of the tiles; every tile reads all of x.
//
// Tile shape: one thread, two neighboring elements. Synchronization contract: all reads precede the barrier of the sum,
// which precedes every write.

enum RmsNormField { R_X = 1, R_X_USE, R_OUT, R_OUT_USE, R_WEIGHT };

template <class P>
struct RmsNorm {
  static __device__ __forceinline__ void run(Cta& c) {
    using X = typename P::X;
    const View<X> x = view<X>(c, c.field(R_X), c.field(R_X_USE));
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(R_OUT), c.field(R_OUT_USE));
    const typename P::Norm* weight = reinterpret_cast<const typename P::Norm*>(c.a.fixed + (u64)c.field(R_WEIGHT) * 16);
    const int row0 = c.field(LO) * P::TILE, row1 = min((int)c.field(HI) * P::TILE, P::N);
    float* stage = reinterpret_cast<float*>(smem + STAGE);
    enter(c);
    float z = 0.f;
    for (int e = c.thread(); e < P::N; e += THREADS) {
      const float v = fetch_one(c, x, e);
      z = fmaf(v, v, z);
      if (e >= row0 && e < row1) stage[e - row0] = v;
    }
    const float scale = rsqrtf(block_sum(c, z, reinterpret_cast<float*>(smem + TURNS_AT)) / P::N + P::EPS);
    for (int e = row0 + c.thread() * 2; e < row1; e += THREADS * 2) {
      const bool two = e + 1 < row1;
      const float a = stage[e - row0] * scale * (float)weight[e];
      const float b = two ? stage[e + 1 - row0] * scale * (float)weight[e + 1] : 0.f;
      put_two(out, e, a, b, two);
    }
    meet();
  }
};
