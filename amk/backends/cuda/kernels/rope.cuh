// rope: rotary embedding of whole heads by the step's position, pairs (i, i + HEAD_DIM / 2). One tile per head.
//
// Tile shape: one thread, two neighboring elements. Synchronization contract: all reads precede the barrier that precedes
// every write.

enum RopeField { O_X = 1, O_X_USE, O_OUT, O_OUT_USE };

template <class P>
struct Rope {
  static __device__ __forceinline__ void run(Cta& c) {
    using X = typename P::X;
    constexpr int HALF = P::HEAD_DIM / 2;
    const View<X> x = view<X>(c, c.field(O_X), c.field(O_X_USE));
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(O_OUT), c.field(O_OUT_USE));
    const float2* table = reinterpret_cast<const float2*>(smem + ROPES + P::ROPE_AT);
    float* stage = reinterpret_cast<float*>(smem + STAGE);
    const int lo = c.field(LO) * P::HEAD_DIM, hi = c.field(HI) * P::HEAD_DIM;
    enter(c);
    for (int e = lo + c.thread(); e < hi; e += THREADS) stage[e - lo] = fetch_one(c, x, e);
    meet();
    auto turned = [&](int e) {
      const int i = e % P::HEAD_DIM, j = i % HALF;
      const float2 cs = table[j];
      const float* h = stage + (e - i - lo);
      return i < HALF ? h[j] * cs.x - h[j + HALF] * cs.y : h[j + HALF] * cs.x + h[j] * cs.y;
    };
    for (int e = lo + c.thread() * 2; e < hi; e += THREADS * 2) put_two(out, e, turned(e), turned(e + 1));
    meet();
  }
};
