// embed: out[i] = table[token, i] * MULTIPLIER for the rows of the tiles, and the same in fp32 to res.
//
// Tile shape: one thread, two neighboring elements. Synchronization contract: the token was read at the start of the
// step; published words carry the epoch; a barrier orders res before the next instruction.

enum EmbedField { E_OUT = 1, E_OUT_USE, E_RES, E_RES_USE, E_TABLE };

template <class P>
struct Embed {
  static __device__ __forceinline__ void run(Cta& c) {
    using T = typename P::Table;
    const int row0 = c.field(LO) * P::TILE, row1 = min((int)c.field(HI) * P::TILE, P::N);
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(E_OUT), c.field(E_OUT_USE));
    const View<typename P::Res> res = view<typename P::Res>(c, c.field(E_RES), c.field(E_RES_USE));
    enter(c);  // whoever sees these words may take it that this SM has done all its reads so far
    const int token = min(max(c.token, 0), P::VOCABULARY - 1);
    const T* table = reinterpret_cast<const T*>(c.a.fixed + (u64)c.field(E_TABLE) * 16) + (u64)token * P::N;
    for (int e = row0 + c.thread() * 2; e < row1; e += THREADS * 2) {
      const bool two = e + 1 < row1;
      const float x = (float)table[e] * P::MULTIPLIER, y = two ? (float)table[e + 1] * P::MULTIPLIER : 0.f;
      put_two(out, e, x, y, two);
      if constexpr (P::RESIDUAL_OUT) put_two(res, e, x, y, two);
    }
    meet();
  }
};
