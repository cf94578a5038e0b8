// topk: the CHOICES largest of N logits, in falling order, the lowest index first on a tie, and their share of softmax.
//
// Tile shape: one warp holds all logits; CHOICES rounds of a maximum over the warp. Synchronization contract: all lanes
// have their logits before the first round, hence before any write; a barrier ends the instruction for the other warps.

enum TopkField { K_X = 1, K_X_USE, K_IDS, K_IDS_USE, K_WEIGHTS, K_WEIGHTS_USE };

template <class P>
struct Topk {
  static __device__ __forceinline__ void run(Cta& c) {
    enter(c);  // whoever sees these words may take it that this SM has done all its reads so far
    if (c.warp == 0) choose(c);
    meet();
  }

  static __device__ __forceinline__ void choose(Cta& c) {
    using X = typename P::X;
    constexpr int MINE = ceil_div(P::N, 32);
    const View<X> x = view<X>(c, c.field(K_X), c.field(K_X_USE));
    const View<typename P::Ids> ids = view<typename P::Ids>(c, c.field(K_IDS), c.field(K_IDS_USE));
    const View<typename P::Weights> weights = view<typename P::Weights>(c, c.field(K_WEIGHTS), c.field(K_WEIGHTS_USE));
    auto index = [&](int i) { return c.lane + 32 * i < P::N ? c.lane + 32 * i : -1; };
    float v[MINE];
    fetch_ones<X, MINE>(c, x, v, index);
    AMK_FRESH(c);
    u32 left[MINE];  // logits not yet chosen, as integers of the same order; 0 is none
#pragma unroll
    for (int i = 0; i < MINE; i++) left[i] = index(i) < 0 ? 0 : (u32)(rank(v[i], 0) >> 32);
    float most = 0.f, share = 0.f;
    u32 id = 0;
#pragma unroll 1
    for (int j = 0; j < P::CHOICES; j++) {
      u32 best = 0, at = 0xffffffffu;
#pragma unroll
      for (int i = 0; i < MINE; i++) best = max(best, left[i]);
      best = __reduce_max_sync(ALL, best);
#pragma unroll
      for (int i = MINE - 1; i >= 0; i--)
        if (left[i] == best && index(i) >= 0) at = index(i);
      at = __reduce_min_sync(ALL, at);
#pragma unroll
      for (int i = 0; i < MINE; i++)
        if (index(i) == (int)at) left[i] = 0;
      const float value = rank_value((u64)best << 32);
      if (j == 0) most = value;
      if (c.lane == j) id = at, share = expf(value - most);
    }
    float sum = P::NORMALIZE ? share : 0.f;
    if constexpr (!P::NORMALIZE) {
#pragma unroll
      for (int i = 0; i < MINE; i++) sum += index(i) < 0 ? 0.f : expf(v[i] - most);
    }
    sum = warp_sum(sum);
    if (c.lane < P::CHOICES) {
      put_int(ids, c.lane, (int)id);
      put_one(weights, c.lane, share / sum);
    }
  }
};
