// topk: the CHOICES largest of N logits, in falling order, the lowest index first on a tie, and their share of softmax.
//
// Tile shape: one thread, one logit, which counts the logits ahead of it; that is its place in the order, found by all
// threads at once and without a reduction in it. Synchronization contract: all logits are in the stage before the first
// barrier, hence before any write; a barrier ends the instruction.

enum TopkField { K_X = 1, K_X_USE, K_IDS, K_IDS_USE, K_WEIGHTS, K_WEIGHTS_USE };

template <class P>
struct Topk {
  static constexpr int MINE = ceil_div(P::N, THREADS);       ///< logits of a thread
  static constexpr int FOURS = ceil_div(P::N, 4);            ///< what is read at once
  static constexpr float NONE = -__builtin_huge_valf();

  static __device__ __forceinline__ void run(Cta& c) {
    using X = typename P::X;
    const View<X> x = view<X>(c, c.field(K_X), c.field(K_X_USE));
    float* logits = reinterpret_cast<float*>(smem + STAGE);
    int* ids = reinterpret_cast<int*>(logits + 4 * FOURS);
    auto index = [&](int i) { return c.thread() + i * THREADS < P::N ? c.thread() + i * THREADS : -1; };
    enter(c);
    float v[MINE];
    fetch_ones<X, MINE>(c, x, v, index);
#pragma unroll
    for (int i = 0; i < MINE; i++)
      if (index(i) >= 0) logits[index(i)] = v[i];
    if (c.thread() < 4 * FOURS - P::N) logits[P::N + c.thread()] = NONE;
    if (c.thread() < P::CHOICES) ids[c.thread()] = c.thread();  // places stay filled even if logits are NaN
    meet();
    AMK_FRESH(c);
    int ahead[MINE] = {};
#pragma unroll 4
    for (int j = 0; j < FOURS; j++) {
      const float4 four = reinterpret_cast<const float4*>(logits)[j];
#pragma unroll
      for (int i = 0; i < MINE; i++) {
        ahead[i] += before(four.x, 4 * j, v[i], index(i)) + before(four.y, 4 * j + 1, v[i], index(i)) +
                    before(four.z, 4 * j + 2, v[i], index(i)) + before(four.w, 4 * j + 3, v[i], index(i));
      }
    }
#pragma unroll
    for (int i = 0; i < MINE; i++)
      if (index(i) >= 0 && ahead[i] < P::CHOICES) ids[ahead[i]] = index(i);
    meet();
    if (c.warp == 0) leave(c, logits, ids);
    meet();
  }

  static __device__ __forceinline__ int before(float a, int i, float b, int j) { return a > b || (a == b && i < j); }

  /// Publishes choices and weights; by one warp.
  static __device__ __forceinline__ void leave(const Cta& c, const float* logits, const int* chosen) {
    const View<typename P::Ids> ids = view<typename P::Ids>(c, c.field(K_IDS), c.field(K_IDS_USE));
    const View<typename P::Weights> weights = view<typename P::Weights>(c, c.field(K_WEIGHTS), c.field(K_WEIGHTS_USE));
    const float most = logits[chosen[0]];
    const int id = chosen[c.lane < P::CHOICES ? c.lane : 0];
    const float share = c.lane < P::CHOICES ? expf(logits[id] - most) : 0.f;
    float sum = share;
    if constexpr (!P::NORMALIZE) {
      sum = 0.f;
      for (int i = c.lane; i < P::N; i += 32) sum += expf(logits[i] - most);
    }
    sum = warp_sum(sum);
    if (c.lane < P::CHOICES) {
      put_int(ids, c.lane, id);
      put_one(weights, c.lane, share / sum);
    }
  }
};
