// append: row pos of a KV cache = (k, v), for the KV heads of the tiles.
//
// Tile shape: one thread, one element. Synchronization contract: a program orders the readers by counters; the writes are
// plain and released by the instruction's signal.

enum AppendField { P_K = 1, P_K_USE, P_V, P_V_USE, P_CACHE };

template <class P>
struct Append {
  static __device__ __forceinline__ void run(Cta& c) {
    using K = typename P::K;
    using T = typename P::Cache;
    const View<K> k = view<K>(c, c.field(P_K), c.field(P_K_USE)), v = view<K>(c, c.field(P_V), c.field(P_V_USE));
    T* cache = reinterpret_cast<T*>(c.a.cache + (u64)c.field(P_CACHE) * 16);
    float* stage = reinterpret_cast<float*>(smem + STAGE);
    const int lo = c.field(LO) * P::HEAD_DIM, hi = c.field(HI) * P::HEAD_DIM;
    enter(c);
    for (int e = lo + c.thread(); e < hi; e += THREADS) {
      stage[2 * (e - lo)] = fetch_one(c, k, e);
      stage[2 * (e - lo) + 1] = fetch_one(c, v, e);
    }
    meet();
    for (int e = lo + c.thread(); e < hi; e += THREADS) {
      T* row = cache + ((u64)(e / P::HEAD_DIM) * P::CACHE_ROWS + c.pos) * 2 * P::HEAD_DIM + e % P::HEAD_DIM;
      row[0] = (T)stage[2 * (e - lo)];
      row[P::HEAD_DIM] = (T)stage[2 * (e - lo) + 1];
    }
    meet();
  }
};
