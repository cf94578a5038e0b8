// sample: the next token, drawn from softmax(logits / temperature) after top-k and top-p.
//
// amk/ir/sampling.py is the definition; this follows it operation by operation. A logit becomes its *distance* below the
// best one (an integer; smaller is likelier), a distance becomes a *mass* (an integer too). Both filters look for a largest
// distance that stays: the smallest whose tokens, and all likelier ones, weigh a wanted amount (select). The draw looks for
// the token at which the running sum of masses passes a random number. Integers add up to the same in any order.
//
// Tile shape: one block, which reads all logits once for each pass (from L2). Synchronization contract: all words are
// polled in the first pass, before the one write.

enum SampleField { S_X = 1, S_X_USE, S_OUT, S_OUT_USE };

constexpr u32 SATURATED = 0xffffffffu;

/// 64 random bits: Philox4x32-10.
__device__ __forceinline__ u64 random_word(u64 seed, u32 pos, u32 row) {
  u32 a = pos, b = row, c = 0, d = 0, k0 = (u32)seed, k1 = (u32)(seed >> 32);
#pragma unroll 1
  for (int i = 0; i < 10; i++) {
    const u64 x = (u64)a * 0xD2511F53u, y = (u64)c * 0xCD9E8D57u;
    a = (u32)(y >> 32) ^ b ^ k0, b = (u32)y;
    c = (u32)(x >> 32) ^ d ^ k1, d = (u32)x;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return (u64)b << 32 | a;
}

/// Distance of logit v below the best one over the temperature, in units of 2^-26.
__device__ __forceinline__ u32 distance(float best, float v, float inverse) {
  const float z = __fmul_rn(__fsub_rn(best, v), inverse);
  const u32 units = (u32)__fmul_rn(z, 67108864.f);
  return z < 64.f ? units : SATURATED;
}

/// exp(-distance) in units of 2^-40.
__device__ __forceinline__ u64 mass_of(u32 distance) {
  const u64 x = ((u64)distance * 3098164010ull) >> 26;
  const u32 whole = (u32)(x >> 31);
  const int part = (int)((u32)x & 0x7fffffffu);
  int r = 246920;
  auto next = [&](int k) { r = k + (int)(((long long)r * part) >> 31); };
  next(-2774097), next(20609764), next(-119183791), next(515881616), next(-1488522224);
  const u32 power = 0x80000000u + (u32)(int)(((long long)r * part) >> 31);
  return ((u64)power << 9) >> min(whole, 63u);
}

__device__ __forceinline__ u64 warp_sum(u64 v) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(ALL, v, o);
  return v;
}

template <class P>
struct Sample {
  using X = typename P::X;
  static constexpr int N = P::N, BINS = 2048;
  static_assert(X::UNIT == 2, "logits are fp32");

  u32* low;       // histogram: the low halves of BINS sums
  u32* high;      // and the high halves
  u64* turns;     // a word a warp
  u64* found;     // bin, sum below it, sum of all
  View<X> x;
  float best, inverse;

  /// f(number, logit, there) of elements [lo, hi), lo even, shared out among `threads` threads of which this is number
  /// `me`; f must do nothing for what is not `there`. (A branch around f would keep its long chains from overlapping.)
  template <class F>
  __device__ __forceinline__ void each(const Cta& c, int lo, int hi, int me, int threads, F f) const {
    constexpr int BATCH = 8;
    const int pairs = (hi - lo) / 2;
#pragma unroll 1
    for (int first = me; first < pairs; first += BATCH * threads) {
      float v[BATCH][2];
      fetch<X, BATCH>(c, x, v, [&](int i) { return first + i * threads < pairs ? lo + (first + i * threads) * 2 : -1; });
#pragma unroll
      for (int i = 0; i < BATCH; i++) {
        const bool there = first + i * threads < pairs;
        f(lo + (first + i * threads) * 2, v[i][0], there);
        f(lo + (first + i * threads) * 2 + 1, v[i][1], there);
      }
    }
    if ((hi - lo) % 2 && me == pairs % threads) f(hi - 1, fetch_one(c, x, hi - 1), true);
  }

  /// The smallest distance whose tokens, and all nearer ones, weigh at least the wanted amount; `most` where there is none.
  /// Only distances up to `most` count. `wanted` of the weight of all of them is the amount.
  template <class Weight, class Wanted>
  __device__ __forceinline__ u32 select(const Cta& c, u32 most, Weight weight, Wanted wanted) {
    u32 prefix = 0;
    u64 amount = 0;
#pragma unroll 1
    for (int pass = 0; pass < 3; pass++) {
      const int shift = pass == 0 ? 21 : pass == 1 ? 10 : 0, bits = pass == 2 ? 10 : 11;
      for (int i = c.thread(); i < BINS; i += THREADS) low[i] = high[i] = 0;
      meet();
      each(c, 0, N, c.thread(), THREADS, [&](int, float v, bool there) {
        const u32 d = distance(best, v, inverse);
        if (!there || d > most || d == SATURATED || (pass && d >> shift >> bits != prefix)) return;
        const u64 w = weight(d);
        const u32 bin = d >> shift & ((1u << bits) - 1), old = atomicAdd(low + bin, (u32)w);
        const u32 rest = (u32)(w >> 32) + (old + (u32)w < old);
        if (rest) atomicAdd(high + bin, rest);
      });
      meet();
      if (c.warp == 0) {  // a lane adds up its share of the bins
        constexpr int SHARE = BINS / 32;
        auto bin = [&](int i) { return (u64)high[i] << 32 | low[i]; };
        u64 mine = 0;
#pragma unroll 1
        for (int i = 0; i < SHARE; i++) mine += bin(c.lane * SHARE + i);
        u64 below = mine;
#pragma unroll
        for (int o = 1; o < 32; o <<= 1) {
          const u64 other = __shfl_up_sync(ALL, below, o);
          if (c.lane >= o) below += other;
        }
        const u64 all = __shfl_sync(ALL, below, 31);
        if (pass == 0) amount = wanted(all);
        below -= mine;
        if (c.lane == 0) found[0] = BINS;
        __syncwarp();
        if (below < amount && amount <= below + mine) {
          int i = c.lane * SHARE;
          while (below + bin(i) < amount) below += bin(i++);
          found[0] = i, found[1] = below;
        }
      }
      meet();
      if (found[0] == BINS) return most;
      prefix = prefix << bits | (u32)found[0];
      amount -= found[1];
    }
    return prefix;
  }

  /// The token at which the running sum of the masses of distances up to `most` passes a random number below their total.
  __device__ __forceinline__ u32 draw(const Cta& c, u32 most, u64 random) {
    auto mass = [&](float v) {
      const u32 d = distance(best, v, inverse);
      const u64 m = mass_of(d);  // whether it counts or not: a branch would keep others from overlapping
      return d <= most ? m : 0;
    };
    int lo = 0, hi = N;
    u64 ticket = 0;
#pragma unroll 1
    for (bool first = true; first || hi - lo > 64; first = false) {  // each warp adds up a part; the one with the ticket stays
      const int part = ceil_div(hi - lo, WARPS * 64) * 64, from = min(lo + c.warp * part, hi);
      u64 sum = 0;
      each(c, from, min(from + part, hi), c.lane, 32, [&](int, float v, bool there) {
        const u64 m = mass(v);
        sum += there ? m : 0;
      });
      sum = warp_sum(sum);
      if (c.lane == 0) turns[c.warp] = sum;
      meet();
      if (first) {
        u64 total = 0;
        for (int w = 0; w < WARPS; w++) total += turns[w];
        if (total == 0) return N;
        ticket = __umul64hi(total, random);
      }
      int w = 0;
      while (w < WARPS - 1 && ticket >= turns[w]) ticket -= turns[w++];
      lo = min(lo + w * part, hi);
      hi = min(lo + part, hi);
      meet();
    }
    const int e = lo + 2 * c.lane;
    u64 mine = e < hi ? mass(fetch_one(c, x, e)) : 0;
    const u64 one = mine;
    if (e + 1 < hi) mine += mass(fetch_one(c, x, e + 1));
    u64 below = mine;
#pragma unroll
    for (int o = 1; o < 32; o <<= 1) {
      const u64 other = __shfl_up_sync(ALL, below, o);
      if (c.lane >= o) below += other;
    }
    const int lane = __ffs(__ballot_sync(ALL, below > ticket)) - 1;
    return __shfl_sync(ALL, ticket < below - mine + one ? e : e + 1, lane);
  }

  static __device__ __forceinline__ void run(Cta& c) {
    Sample s;
    s.low = reinterpret_cast<u32*>(smem + STAGE);
    s.high = s.low + BINS;
    s.found = reinterpret_cast<u64*>(s.high + BINS);
    s.turns = reinterpret_cast<u64*>(smem + TURNS_AT);
    s.x = view<X>(c, c.field(S_X), c.field(S_X_USE));
    s.inverse = c.a.inverse_temperature;
    const View<typename P::Out> out = view<typename P::Out>(c, c.field(S_OUT), c.field(S_OUT_USE));
    enter(c);
    u64 best = 0;
    s.each(c, 0, N, c.thread(), THREADS, [&](int i, float v, bool there) {
      const u64 k = rank(v, i);
      best = there && k > best ? k : best;
    });
    AMK_FRESH(c);
    best = warp_max(best);
    if (c.lane == 0) s.turns[c.warp] = best;
    meet();
    for (int w = 0; w < WARPS; w++) best = s.turns[w] > best ? s.turns[w] : best;
    meet();
    u32 token = rank_row(best);
    if (s.inverse != 0.f && !next_given(c)) {
      s.best = rank_value(best);
      u32 most = SATURATED;
      const u32 k = c.a.top_k;
      if (k > 0 && k < N) most = s.select(c, most, [](u32) { return 1; }, [&](u64) { return (u64)k; });
      const u64 cut = (u64)c.a.top_p_cut << 32;
      if (cut) most = s.select(c, most, mass_of, [&](u64 all) { return all - __umul64hi(all, cut); });
      const u32 drawn = s.draw(c, most, random_word(c.a.seed, c.pos, 0));
      token = drawn < N ? drawn : token;
    }
    if (c.thread() == 0) leave_token(c, out, token);
    meet();
  }
};
