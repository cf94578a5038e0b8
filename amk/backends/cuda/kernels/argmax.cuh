// argmax: the next token, from candidate pairs (value, index) or from all logits; the lowest index on a tie.
//
// Tile shape: one block reads everything, BATCH units a thread in flight. Synchronization contract: all reads precede the
// barrier that precedes the one write. Also leaves the token where the next step and the host look for it.

enum ArgmaxField { M_X = 1, M_X_USE, M_OUT, M_OUT_USE };

template <class P>
struct Argmax {
  static __device__ __forceinline__ void run(Cta& c) {
    using X = typename P::X;
    constexpr int COUNT = P::PAIRS ? 2 * P::N : P::N, UNITS = ceil_div(COUNT, X::UNIT), BATCH = 4;
    const View<X> x = view<X>(c, c.field(M_X), c.field(M_X_USE));
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(M_OUT), c.field(M_OUT_USE));
    u64* turns = reinterpret_cast<u64*>(smem + TURNS_AT);
    enter(c);
    u64 best = 0;
    for (int first = c.thread(); first - c.lane < UNITS; first += BATCH * THREADS) {
      float v[BATCH][X::UNIT];
      auto at = [&](int i) { return (first + i * THREADS) < UNITS ? (first + i * THREADS) * X::UNIT : -1; };
      fetch<X, BATCH>(c, x, v, at);
#pragma unroll
      for (int i = 0; i < BATCH; i++) {
        if (at(i) < 0) continue;
        if constexpr (P::PAIRS) {
          const u64 k = rank(v[i][0], (u32)v[i][1]);
          best = k > best ? k : best;
        } else {
#pragma unroll
          for (int j = 0; j < X::UNIT; j++) {
            const u64 k = at(i) + j < COUNT ? rank(v[i][j], at(i) + j) : 0;
            best = k > best ? k : best;
          }
        }
      }
    }
    best = warp_max(best);
    if (c.lane == 0) turns[c.warp] = best;
    meet();
    if (c.thread() == 0) {
      for (int w = 0; w < WARPS; w++) best = turns[w] > best ? turns[w] : best;
      leave_token(c, out, rank_row(best));
    }
    meet();
  }
};
