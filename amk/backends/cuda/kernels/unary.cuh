// unary: out = op(x), element by element, for the rows of the tiles: an activation, VALUE x (scale), or
// VALUE tanh(x / VALUE) (softcap).
//
// Tile shape: one thread, two neighboring elements. Synchronization contract: all reads precede the barrier that precedes
// every write.

enum UnaryField { U_X = 1, U_X_USE, U_OUT, U_OUT_USE };
enum UnaryOp { ACTIVATE, SCALE, SOFTCAP };

template <class P>
struct Unary {
  static __device__ __forceinline__ float apply(float x) {
    if constexpr (P::OP == ACTIVATE) return activate<P::KIND>(x);
    if constexpr (P::OP == SCALE) return P::VALUE * x;
    return capped(x, P::VALUE);
  }

  static __device__ __forceinline__ void run(Cta& c) {
    using X = typename P::X;
    const View<X> x = view<X>(c, c.field(U_X), c.field(U_X_USE));
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(U_OUT), c.field(U_OUT_USE));
    const int row0 = c.field(LO) * P::TILE, row1 = min((int)c.field(HI) * P::TILE, P::N);
    float* stage = reinterpret_cast<float*>(smem + STAGE);
    enter(c);
    for (int e = row0 + c.thread(); e < row1; e += THREADS) stage[e - row0] = apply(fetch_one(c, x, e));
    meet();
    for (int e = row0 + c.thread() * 2; e < row1; e += THREADS * 2) {
      const bool two = e + 1 < row1;
      put_two(out, e, stage[e - row0], two ? stage[e + 1 - row0] : 0.f, two);
    }
    meet();
  }
};
