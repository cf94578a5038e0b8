// binary: out = a + b, or activate(a) * b, element by element, for the rows of the tiles.
//
// Tile shape: one thread, two neighboring elements. Synchronization contract: all reads precede the barrier that precedes
// every write.

enum BinaryField { B_A = 1, B_A_USE, B_B, B_B_USE, B_OUT, B_OUT_USE };

template <class P>
struct Binary {
  static __device__ __forceinline__ void run(Cta& c) {
    using A = typename P::A;
    using B = typename P::B;
    const View<A> a = view<A>(c, c.field(B_A), c.field(B_A_USE));
    const View<B> b = view<B>(c, c.field(B_B), c.field(B_B_USE));
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(B_OUT), c.field(B_OUT_USE));
    const int row0 = c.field(LO) * P::TILE, row1 = min((int)c.field(HI) * P::TILE, P::N);
    float* stage = reinterpret_cast<float*>(smem + STAGE);
    enter(c);
    for (int e = row0 + c.thread(); e < row1; e += THREADS) {
      const float x = fetch_one(c, a, e), y = fetch_one(c, b, e);
      stage[e - row0] = P::ADD ? x + y : activate<P::KIND>(x) * y;
    }
    meet();
    for (int e = row0 + c.thread() * 2; e < row1; e += THREADS * 2) {
      const bool two = e + 1 < row1;
      put_two(out, e, stage[e - row0], two ? stage[e + 1 - row0] : 0.f, two);
    }
    meet();
  }
};
