// rope: rotary embedding of whole heads by the step's position. One tile per head. The first ROTARY elements of a head are
// rotated, the others copied; pairs are (i, i + ROTARY / 2), or neighbors if INTERLEAVED.
//
// Tile shape: one thread, two neighboring elements. Synchronization contract: all reads precede the barrier that precedes
// every write.

enum RopeField { O_X = 1, O_X_USE, O_OUT, O_OUT_USE };

template <class P>
struct Rope {
  static __device__ __forceinline__ void run(Cta& c) {
    using X = typename P::X;
    constexpr int HALF = P::ROTARY / 2;
    const View<X> x = view<X>(c, c.field(O_X), c.field(O_X_USE));
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(O_OUT), c.field(O_OUT_USE));
    const float2* table = reinterpret_cast<const float2*>(smem + ROPES + P::ROPE_AT);
    float* stage = reinterpret_cast<float*>(smem + STAGE);
    const int lo = c.field(LO) * P::HEAD_DIM, hi = c.field(HI) * P::HEAD_DIM;
    enter(c);
    for (int e = lo + c.thread(); e < hi; e += THREADS) stage[e - lo] = fetch_one(c, x, e);
    meet();
    auto turned = [&](int e) {
      const int i = e % P::HEAD_DIM, pair = P::INTERLEAVED ? i / 2 : i % HALF;
      const float* h = stage + (e - i - lo);
      if (i >= P::ROTARY) return h[i];
      const int first = P::INTERLEAVED ? 2 * pair : pair, second = P::INTERLEAVED ? first + 1 : first + HALF;
      const float2 cs = table[pair];
      return i == first ? h[first] * cs.x - h[second] * cs.y : h[second] * cs.x + h[first] * cs.y;
    };
    for (int e = lo + c.thread() * 2; e < hi; e += THREADS * 2) put_two(out, e, turned(e), turned(e + 1));
    meet();
  }
};
