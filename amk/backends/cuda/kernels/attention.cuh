// attention: one KV head's group of query heads over the rows of one split (flash-decoding).
//
// Tile shape: a warp works for one query head, PER_HEAD warps share a head's rows. Rows of the cache arrive in shared
// memory in chunks of CHUNK_ROWS, through a ring of KV_BUFFERS buffers in the stage; LANES lanes hold one row (8 elements
// each), so a warp takes ROWS = 32 / LANES rows at once, DEPTH times. Softmax is online, in fp32, base 2, per lane group;
// groups merge by shuffles, warps through the stage. One head a warp and no loads to registers keep the code short: it
// runs once a layer. Heads of 64 and 128 in bf16 have a form of their own (MATRIX, by_matrix).
//
// Synchronization contract: rows below pos are immutable in this step and were written by this SM, so the loader brings
// them to L2 ahead of the tile (ring.cuh), and a finisher has the first chunks under way while the consumers await q. Row
// pos comes from k and v, polled together with q; one warp also appends it to the cache, and the barriers that follow
// order it before later steps' copies (with a proxy fence, for these are asynchronous). Partial results are polled by
// split 0. All reads of the tile precede a barrier that precedes every publication.

enum AttentionField { A_Q = 1, A_Q_USE, A_OUT, A_OUT_USE, A_K, A_K_USE, A_V, A_V_USE, A_PART, A_PART_USE, A_CACHE, A_SINKS, A_Q_NORM, A_K_NORM };

/// 8 elements of a cache row as loaded.
template <class T>
struct Row;

template <>
struct Row<bf16> {
  uint4 r;
  __device__ __forceinline__ void load(const bf16* p) { r = *reinterpret_cast<const uint4*>(p); }
  __device__ __forceinline__ void store(bf16* p) const { *reinterpret_cast<uint4*>(p) = r; }
  __device__ __forceinline__ void clear() { r = make_uint4(0, 0, 0, 0); }
  __device__ __forceinline__ void set(const float (&f)[8]) {
    r = make_uint4(pack(f[0], f[1]), pack(f[2], f[3]), pack(f[4], f[5]), pack(f[6], f[7]));
  }
  __device__ __forceinline__ void get(float (&f)[8]) const {
    f[0] = low(r.x), f[1] = high(r.x), f[2] = low(r.y), f[3] = high(r.y);
    f[4] = low(r.z), f[5] = high(r.z), f[6] = low(r.w), f[7] = high(r.w);
  }
};

template <>
struct Row<float> {
  float4 a, b;
  __device__ __forceinline__ void load(const float* p) {
    a = *reinterpret_cast<const float4*>(p), b = *reinterpret_cast<const float4*>(p + 4);
  }
  __device__ __forceinline__ void store(float* p) const {
    *reinterpret_cast<float4*>(p) = a, *reinterpret_cast<float4*>(p + 4) = b;
  }
  __device__ __forceinline__ void clear() { a = b = make_float4(0.f, 0.f, 0.f, 0.f); }
  __device__ __forceinline__ void set(const float (&f)[8]) {
    a = make_float4(f[0], f[1], f[2], f[3]), b = make_float4(f[4], f[5], f[6], f[7]);
  }
  __device__ __forceinline__ void get(float (&f)[8]) const {
    f[0] = a.x, f[1] = a.y, f[2] = a.z, f[3] = a.w, f[4] = b.x, f[5] = b.y, f[6] = b.z, f[7] = b.w;
  }
};

template <class P>
struct Attention {
  using T = typename P::Cache;
  using Q = typename P::Q;
  using K = typename P::K;
  using Part = typename P::Part;
  static constexpr int HD = P::HEAD_DIM, G = P::GROUP_HEADS, DEPTH = P::DEPTH, CHUNK_ROWS = P::CHUNK_ROWS;
  static constexpr int ROW_BYTES = 2 * HD * (int)sizeof(T);  // keys and values
  static constexpr int LANES = power_of_two(ceil_div(HD, 8)), ROWS = 32 / LANES;
  static constexpr int PER_HEAD = P::MATRIX ? WARPS : G < WARPS ? WARPS / G : 1;  // warps that share a head
  static constexpr int AT_ONCE = WARPS / PER_HEAD;            // heads worked on together
  static constexpr int PARTS_OF_TILE = G * PER_HEAD;
  static constexpr float NEVER = -1e30f;  // below any score; its power of 2 is 0
  static constexpr float LOG2E = 1.4426950408889634f;
  static constexpr float Q_SCALE = P::SOFTCAP == 0.f ? P::SCALE * LOG2E : P::SCALE / P::SOFTCAP;
  static constexpr int PAIRS = G * HD / 2, PER = ceil_div(PAIRS, THREADS);
  static constexpr int PART_SIZE = G * (HD + 2);                                   // elements of a split's result
  static constexpr int TEAMS = P::TEAMS;  // threads that merge the same pair of outputs
  static constexpr int QU = 8 / Q::UNIT, KU = P::APPEND ? 8 / K::UNIT : 0;
  static_assert(CHUNK_ROWS * ROW_BYTES <= KV_BYTES, "the emitter counts the same bytes");
  static_assert(HD % 8 == 0 && LANES <= 32, "a row must fit in one warp, in pieces of 8");

  /// 2^x for x <= 0; results below 2^-126 are 0.
  static __device__ __forceinline__ float power(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x));
    return y;
  }

  /// q k over the lanes of a row.
  static __device__ __forceinline__ float dot(const float (&q)[8], const Row<T>& k) {
    float f[8], s = 0.f, t = 0.f;
    k.get(f);
#pragma unroll
    for (int i = 0; i < 8; i += 2) s = fmaf(q[i], f[i], s), t = fmaf(q[i + 1], f[i + 1], t);
    s += t;
#pragma unroll
    for (int o = LANES / 2; o > 0; o >>= 1) s += __shfl_xor_sync(ALL, s, o);
    return s;
  }

  static __device__ __forceinline__ int row(int j, int s) {
    if constexpr (P::SPLITS == 1)
      return j;
    else
      return (j / P::CHUNK * P::SPLITS + s) * P::CHUNK + j % P::CHUNK;
  }

  /// Rows of split s in [0, n).
  static __device__ __forceinline__ int rows_below(int n, int s) {
    if constexpr (P::SPLITS == 1) {
      return n;
    } else {
      const int round = P::CHUNK * P::SPLITS, rest = n % round - s * P::CHUNK;
      return n / round * P::CHUNK + min(max(rest, 0), P::CHUNK);
    }
  }

  /// Rows of split s that lie before the window of position pos.
  static __device__ __forceinline__ int rows_gone(int pos, int s) {
    if constexpr (P::WINDOW == 0)
      return 0;
    else
      return rows_below(max(0, pos + 1 - P::WINDOW), s);
  }

  /// The logarithm to base 2 of a row's weight; q was scaled by Q_SCALE.
  static __device__ __forceinline__ float score_of(float product) {
    if constexpr (P::SOFTCAP == 0.f)
      return product;
    else
      return P::SOFTCAP * LOG2E * tanhf(product);
  }

  template <int N, int U>
  static __device__ __forceinline__ void eight(const float (&u)[N][U], int i, float (&f)[8]) {
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] = u[i + j / U][j % U];
  }

  /// The weights of 8 elements of a head, from element d on; 0 where the head has none. With HALVES, elements i and
  /// i + ROTARY / 2 of the head lie side by side, their weights do not.
  template <class W>
  static __device__ __forceinline__ void load_norm(const Cta& c, u32 at, int d, float (&w)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) w[i] = 0.f;
    if (d >= HD) return;
    const W* from = reinterpret_cast<const W*>(c.a.fixed + (u64)at * 16);
    if constexpr (P::HALVES) {
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const int e = d + i;
        w[i] = (float)from[e < P::ROTARY ? e / 2 + i % 2 * (P::ROTARY / 2) : e];
      }
    } else {
      load_fixed(from, d, w);
    }
  }

  /// Normalizes a head, 8 elements a lane, from element d on.
  static __device__ __forceinline__ void normalize(float (&x)[8], const float (&w)[8]) {
    float z = 0.f;
#pragma unroll
    for (int i = 0; i < 8; i++) z = fmaf(x[i], x[i], z);
#pragma unroll
    for (int o = LANES / 2; o > 0; o >>= 1) z += __shfl_xor_sync(ALL, z, o);
    const float scale = rsqrtf(z / HD + P::EPS);
#pragma unroll
    for (int i = 0; i < 8; i++) x[i] *= scale * w[i];
  }

  /// Rotates pairs of neighbors by the step's position.
  static __device__ __forceinline__ void rotate(float (&x)[8], int d) {
    const float2* table = reinterpret_cast<const float2*>(smem + ROPES + P::ROPE_AT) + d / 2;
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      if (d + i >= P::ROTARY) continue;
      const float2 cs = table[i / 2];
      const float y = x[i + 1];
      x[i + 1] = y * cs.x + x[i] * cs.y;
      x[i] = x[i] * cs.x - y * cs.y;
    }
  }

  /// 8 elements of q from element eq, and, where `fresh`, of k and v from element ek.
  static __device__ __forceinline__ void inputs(const Cta& c, const View<Q>& q, const View<K>& k, const View<K>& v, bool here,
                                                bool fresh, int eq, int ek, int d, float (&fq)[8], Row<T>& rk, Row<T>& rv) {
    float uq[QU][Q::UNIT], f[8], wq[8], wk[8];
    auto norms = [&] {
      if constexpr (P::NORMS) {
        load_norm<typename P::QNorm>(c, c.field(A_Q_NORM), d, wq);
        load_norm<typename P::KNorm>(c, c.field(A_K_NORM), d, wk);
      }
    };
    if constexpr (Q::HALF) norms();  // of fp32 there are too many registers to wait in
    if constexpr (P::APPEND) {
      float uk[KU][K::UNIT], uv[KU][K::UNIT];
      if constexpr (Q::SPACE == FLAGGED && K::SPACE == FLAGGED && Q::HALF) {  // together, where registers suffice
        ulonglong2 w[QU + 2 * KU];
        poll(c, w,
             [&](int i) -> const u64* {
               if (i < QU) return here ? words_at(q, eq + i * Q::UNIT) : nullptr;
               if (i < QU + KU) return fresh ? words_at(k, ek + (i - QU) * K::UNIT) : nullptr;
               return fresh ? words_at(v, ek + (i - QU - KU) * K::UNIT) : nullptr;
             },
             [&](int i) { return i < QU ? q.epoch : i < QU + KU ? k.epoch : v.epoch; });
#pragma unroll
        for (int i = 0; i < QU; i++) unpack<Q>(w[i], uq[i]);
#pragma unroll
        for (int i = 0; i < KU; i++) unpack<K>(w[QU + i], uk[i]), unpack<K>(w[QU + KU + i], uv[i]);
      } else {
        fetch<Q, QU>(c, q, uq, [&](int i) { return here ? eq + i * Q::UNIT : -1; });
        fetch<K, KU>(c, k, uk, [&](int i) { return fresh ? ek + i * K::UNIT : -1; });
        fetch<K, KU>(c, v, uv, [&](int i) { return fresh ? ek + i * K::UNIT : -1; });
      }
      if constexpr (!Q::HALF) norms();
      eight(uk, 0, f);
      if constexpr (P::NORMS) normalize(f, wk);
      if constexpr (P::ROTARY > 0) rotate(f, d);
      rk.set(f);
      eight(uv, 0, f);
      rv.set(f);
    } else {
      fetch<Q, QU>(c, q, uq, [&](int i) { return here ? eq + i * Q::UNIT : -1; });
      if constexpr (!Q::HALF) norms();
    }
    eight(uq, 0, fq);
    if constexpr (P::NORMS) normalize(fq, wq);
    if constexpr (P::ROTARY > 0) rotate(fq, d);
  }

  static __device__ __forceinline__ void multiply(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }

  /// Heads x rows += q keys; of the 16 rows of the first operand only 8 are heads, the others are copies.
  static __device__ __forceinline__ void score(float (&c)[4], const u32 (&a)[2], u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%4,%5,%5},{%6,%7},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0), "r"(b1));
  }

  /// From L2, where the row may then make room: it is read once a step, and a layer's rows can fill half of L2.
  static __device__ __forceinline__ uint4 load_row(const unsigned char* p) {
    uint4 v;
#if AMK_BULK_COPY
    constexpr u64 ONCE = 0x12f0000000000000;  // what createpolicy makes of evict_first, without a register
    asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v4.u32 {%0,%1,%2,%3},[%4],%5;"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p), "n"(ONCE));
#else
    asm volatile("ld.global.cg.v4.u32 {%0,%1,%2,%3},[%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
#endif
    return v;
  }

  static __device__ __forceinline__ u32 word(const uint4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

  /// MATRIX: all heads of the group by matrix instructions, 16 rows of the cache at a time and in turn for each warp. Rows
  /// come straight from L2 to registers, in the order of fragments: the first ones while the warp awaits q, the next ones
  /// while it works (AHEAD); row pos takes its place among them once it is there. First the scores, heads x rows = q keys:
  /// lane l holds rows 2 (l % 4) and + 1, + 8 and + 9 of head l / 4. This is how the second product takes them, elements x
  /// heads = values' weights: lane l holds elements 8 (l / 4) + 2 t and + 1 of heads 2 (l % 4) and + 1. The order of elements
  /// within a product is free: q and keys are read in the same one.
  static __device__ __forceinline__ void by_matrix(Cta& c, const View<Q>& q, const View<K>& kn, const View<K>& vn, T* cache, int g,
                                                   int s, float* part, float* maxima, float* sums) {
    constexpr int BLOCK = 16, KC = HD / 32, VC = HD / 64, NQ = 2 * KC, NEW = HD / 64;
    const int lane = here(c.lane), warp = here(c.warp);
    const int quad = lane >> 2, q4 = lane & 3;
    const int old = rows_below(c.pos, s), count = rows_below(c.pos + 1, s), blocks = (count + BLOCK - 1) / BLOCK;
    // the block of row pos, where it is this warp's, and its row in it
    const int last = count > old && warp == old / BLOCK % WARPS ? old / BLOCK : -1, place = old % BLOCK;
    T* head = cache + (u64)g * P::CACHE_ROWS * 2 * HD;
    const unsigned char* rows = reinterpret_cast<const unsigned char*>(head);
    // Without AHEAD, rows come where they are used, of values 64 elements at a time: on sm_80, where the same code takes
    // more registers, the next rows of heads of 128 would spill.
    constexpr bool AHEAD = HD <= 64 || AMK_BULK_COPY;
    uint4 k[2][KC], v[4][VC];
    // a row too many is a copy of another one and has no weight; where a block has none, values must be numbers
    auto load_keys = [&](int n) {
      const int most = old - n * BLOCK - 1;
      const unsigned char* p = rows + (u64)row(n * BLOCK, s) * ROW_BYTES + q4 * 16;
#pragma unroll
      for (int t = 0; t < 2; t++)
#pragma unroll
        for (int i = 0; i < KC; i++) {
          k[t][i] = make_uint4(0, 0, 0, 0);
          if (most >= 0) k[t][i] = load_row(p + min(t * 8 + quad, most) * ROW_BYTES + i * 64);
        }
    };
    auto load_values = [&](int n, int from, int to) {  // elements [64 from, 64 to)
      const int most = old - n * BLOCK - 1;
      const unsigned char* p = rows + (u64)row(n * BLOCK, s) * ROW_BYTES + HD * 2 + quad * 16;
#pragma unroll
      for (int r = 0; r < 4; r++)
#pragma unroll
        for (int h = from; h < to; h++) {
          v[r][h] = make_uint4(0, 0, 0, 0);
          if (most >= 0) v[r][h] = load_row(p + min(r / 2 * 8 + 2 * q4 + r % 2, most) * ROW_BYTES + h * 128);
        }
    };
    if constexpr (AHEAD) load_keys(warp), load_values(warp, 0, VC);

    const int mine_q = min(quad, G - 1);  // this lane's head; rows of operands beyond the last head are copies
    // q begins with a sector, so that every 8 elements do
    const unsigned char* from = reinterpret_cast<const unsigned char*>(words_at(q, (g * G + mine_q) * HD + q4 * 8));
    ulonglong2 w[NQ + NEW];
    auto is_key = [&](int i) { return (i - NQ) * 32 + lane < HD / 4; };
    auto element = [&](int i) { return ((i - NQ) * 32 + lane) % (HD / 4) * 4; };
    poll<true>(c, w,
               [&](int i) -> const u64* {
                 if (i < NQ) return reinterpret_cast<const u64*>(from + i / 2 * 4 * SECTOR_STEP + i % 2 * 16);
                 return last < 0 ? nullptr : is_key(i) ? words_at(kn, g * HD + element(i)) : words_at(vn, g * HD + element(i));
               },
               [&](int i) { return i < NQ ? q.epoch : is_key(i) ? kn.epoch : vn.epoch; });
    AMK_FRESH(c);
    // Heads of 128 leave no registers for q: each lane keeps its own words where the warp's results of its head will be.
    constexpr bool KEPT = HD <= 64;
    const u32 home = shared(part + (mine_q * PER_HEAD + warp) * HD) + mine_q % KC * 64 + q4 * 16;
    u32 qs[KEPT ? NQ : 1][2] = {};
    if constexpr (KEPT) {
#pragma unroll
      for (int i = 0; i < NQ; i++) qs[i][0] = (u32)w[i].x, qs[i][1] = (u32)w[i].y;
    } else {
#pragma unroll
      for (int i = 0; i < KC; i++)
        asm volatile("st.shared.v4.u32 [%0],{%1,%2,%3,%4};" ::"r"(home + i * 64), "r"((u32)w[2 * i].x), "r"((u32)w[2 * i].y),
                     "r"((u32)w[2 * i + 1].x), "r"((u32)w[2 * i + 1].y));
    }
    T* mine = reinterpret_cast<T*>(sums + PARTS_OF_TILE);  // row pos, keys and values
    if (last >= 0) {
#pragma unroll
      for (int i = NQ; i < NQ + NEW; i++) {
        const uint2 y = make_uint2((u32)w[i].x, (u32)w[i].y);
        const int e = element(i) + (is_key(i) ? 0 : HD);
        *reinterpret_cast<uint2*>(mine + e) = y;
        *reinterpret_cast<uint2*>(head + (u64)c.pos * 2 * HD + e) = y;
      }
      __syncwarp();
    }

    float m = NEVER, l = 0.f, acc[VC][4][4] = {};
#pragma unroll 1
    for (int n = warp; n < blocks; n += WARPS) {
      const bool more = AHEAD && n + WARPS < blocks;
      if constexpr (!AHEAD) load_keys(n);
      if (n == last) {
#pragma unroll
        for (int t = 0; t < 2; t++)
          if (t * 8 + quad == place) {
#pragma unroll
            for (int i = 0; i < KC; i++) k[t][i] = reinterpret_cast<const uint4*>(mine)[i * 4 + q4];
          }
      }
      const int limit = count - n * BLOCK - 2 * q4;
      float x[2][2], top = m;
      float y[2][4] = {};
#pragma unroll
      for (int i = 0; i < KC; i++) {
        u32 a[2][2];
        if constexpr (KEPT) {
          a[0][0] = qs[2 * i][0], a[0][1] = qs[2 * i][1], a[1][0] = qs[2 * i + 1][0], a[1][1] = qs[2 * i + 1][1];
        } else {
          asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3},[%4];"
                       : "=r"(a[0][0]), "=r"(a[0][1]), "=r"(a[1][0]), "=r"(a[1][1])
                       : "r"(home + i * 64));
        }
#pragma unroll
        for (int t = 0; t < 2; t++) {
          score(y[t], a[0], k[t][i].x, k[t][i].y);
          score(y[t], a[1], k[t][i].z, k[t][i].w);
        }
      }
#pragma unroll
      for (int t = 0; t < 2; t++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
          x[t][j] = t * 8 + j < limit ? y[t][j] * Q_SCALE : NEVER;
          top = fmaxf(top, x[t][j]);
        }
      if (more) load_keys(n + WARPS);
      top = fmaxf(top, __shfl_xor_sync(ALL, top, 1));
      top = fmaxf(top, __shfl_xor_sync(ALL, top, 2));
      const float shrink = power(m - top);
      m = top, l *= shrink;
      float of[2];  // what this lane's columns of the outputs shrink by
#pragma unroll
      for (int j = 0; j < 2; j++) of[j] = __shfl_sync(ALL, shrink, 8 * q4 + 4 * j);
#pragma unroll
      for (int h = 0; h < VC; h++)
#pragma unroll
        for (int t = 0; t < 4; t++)
#pragma unroll
          for (int j = 0; j < 4; j++) acc[h][t][j] *= of[j % 2];
      u32 weights[2];
#pragma unroll
      for (int t = 0; t < 2; t++) {
        const float y0 = power(x[t][0] - m), y1 = power(x[t][1] - m);
        l += y0 + y1;
        weights[t] = pack(y0, y1);
      }
      auto place_values = [&](int from, int to) {  // of row pos
        if (n != last) return;
#pragma unroll
        for (int r = 0; r < 4; r++)
          if (r / 2 * 8 + 2 * q4 + r % 2 == place) {
#pragma unroll
            for (int h = from; h < to; h++) v[r][h] = reinterpret_cast<const uint4*>(mine + HD)[h * 8 + quad];
          }
      };
      if constexpr (AHEAD) place_values(0, VC);
#pragma unroll
      for (int h = 0; h < VC; h++) {
        if constexpr (!AHEAD) load_values(n, h, h + 1), place_values(h, h + 1);
#pragma unroll
        for (int t = 0; t < 4; t++) {
          const u32 v0 = word(v[0][h], t), v1 = word(v[1][h], t), v2 = word(v[2][h], t), v3 = word(v[3][h], t);
          multiply(acc[h][t], __byte_perm(v0, v1, 0x5410), __byte_perm(v0, v1, 0x7632), __byte_perm(v2, v3, 0x5410),
                   __byte_perm(v2, v3, 0x7632), weights[0], weights[1]);
        }
      }
      if (more) load_values(n + WARPS, 0, VC);
    }
    l += __shfl_xor_sync(ALL, l, 1);
    l += __shfl_xor_sync(ALL, l, 2);
    if (quad < G && q4 == 0) maxima[quad * PER_HEAD + warp] = m, sums[quad * PER_HEAD + warp] = l;
#pragma unroll
    for (int j = 0; j < 2; j++) {
      if (2 * q4 + j >= G) continue;
#pragma unroll
      for (int h = 0; h < VC; h++) {
        float4* p = reinterpret_cast<float4*>(part + ((2 * q4 + j) * PER_HEAD + warp) * HD + (quad + 8 * h) * 8);
        p[0] = make_float4(acc[h][0][j], acc[h][0][2 + j], acc[h][1][j], acc[h][1][2 + j]);
        p[1] = make_float4(acc[h][2][j], acc[h][2][2 + j], acc[h][3][j], acc[h][3][2 + j]);
      }
    }
  }

  /// Names the running instruction: more than 0 and more than any before it in this launch (K4). Steps count from the
  /// start of the launch, as KV_GO does, which is 0 then.
  static __device__ __forceinline__ u32 ticket(const Cta& c) { return ((c.turn - c.a.turn) << TICKET_BITS) + c.index + 1; }

  /// By one finisher, beside the consumers: copies the rows of all tiles, once the stage is free.
  static __device__ __forceinline__ void produce(Cta& c) {
    if constexpr (P::MATRIX) return;
    const unsigned char* cache = c.a.cache + (u64)c.field(A_CACHE) * 16;
    const int lo = c.field(LO), hi = c.field(HI);
    u32 polls = 0;
    while ((int)(load_acquire(smem + KV_GO) - ticket(c)) < 0 && !give_up_near(c, polls, ON_STAGE, 0)) {
    }
    AMK_TAKE_CONSUMERS();
    __syncwarp();
#if AMK_BULK_COPY
    // rows, and what the stage held before, were written by ordinary stores; this fence is slow, and nobody waits for it
    asm volatile("fence.proxy.async;" ::: "memory");
#endif
#pragma unroll 1
    for (int tile = lo; tile < hi; tile++) {
      const int g = tile / P::SPLITS, s = tile % P::SPLITS;
      if (c.pos < s * P::CHUNK) continue;
      const int old = P::APPEND ? rows_below(c.pos, s) : rows_below(c.pos + 1, s), gone = rows_gone(c.pos, s);
      const unsigned char* rows = cache + (u64)g * P::CACHE_ROWS * ROW_BYTES;
#pragma unroll 1
      for (int first = 0; first < G; first += AT_ONCE) {
#pragma unroll 1
        for (int at = gone, end; at < old; at = end) {
          end = min(old, (at / CHUNK_ROWS + 1) * CHUNK_ROWS);
          const u32 buffer = c.chunk % KV_BUFFERS, lap = c.chunk / KV_BUFFERS;
          // at once in the launch's first lap: no phase is over yet
          barrier_wait(c, kv_empty(buffer), lap ^ 1, ON_ROOM, buffer);
          if (block_gave_up()) return;  // nobody waits for the rows
          if (++c.chunk == 2 * KV_BUFFERS) c.chunk = 0;
          copy_rows(buffer, rows + (u64)row(at, s) * ROW_BYTES, (end - at) * ROW_BYTES, c.lane);
        }
      }
    }
  }

  /// By split 0: merges the results of the `others` behind it into its own. TEAMS threads share the splits of a pair of
  /// outputs; `box` is free shared memory. Contains a barrier behind all reads of partial results.
  static __device__ __forceinline__ void merge(const Cta& c, const View<Part>& pv, int g, int others, float2 (&o)[PER],
                                               float (&tops)[PER], float (&totals)[PER], float* box) {
    constexpr int SHARE = ceil_div(P::SPLITS - 1, TEAMS), BATCH = SHARE < 8 ? SHARE : 8;
#pragma unroll
    for (int i = 0; i < PER; i++) {
      const int thread = c.thread() + i * THREADS, e = thread % PAIRS, team = thread / PAIRS, h = e / (HD / 2);
#pragma unroll 1
      for (int first = 0; first < others; first += BATCH * TEAMS) {
        float y[BATCH][2], top[BATCH], total[BATCH];
        auto there = [&](int b) { return team < TEAMS && first + b * TEAMS + team < others; };
        auto at = [&](int b) { return (g * (P::SPLITS - 1) + first + b * TEAMS + team) * PART_SIZE; };
        const int peak = G * HD + h, sum = peak + G;
        if constexpr (Part::SPACE == FLAGGED && HD % 64 == 0) {
          // all words at once; a warp works for one head, and lane b has the maximum and the sum of split b
          ulonglong2 w[BATCH + 2];
          poll(c, w,
               [&](int j) {
                 const int b = j < BATCH ? j : c.lane;
                 return b < BATCH && there(b) ? words_at(pv, at(b) + (j < BATCH ? 2 * e : (j == BATCH ? peak : sum) & ~1)) : nullptr;
               },
               [&](int) { return pv.epoch; });
          const u64 m = peak & 1 ? w[BATCH].y : w[BATCH].x, l = sum & 1 ? w[BATCH + 1].y : w[BATCH + 1].x;
#pragma unroll
          for (int b = 0; b < BATCH; b++) {
            y[b][0] = __uint_as_float((u32)w[b].x), y[b][1] = __uint_as_float((u32)w[b].y);
            top[b] = __uint_as_float(__shfl_sync(ALL, (u32)m, b)), total[b] = __uint_as_float(__shfl_sync(ALL, (u32)l, b));
          }
        } else {
          fetch<Part, BATCH>(c, pv, y, [&](int b) { return there(b) ? at(b) + 2 * e : -1; });
          fetch_ones<Part, BATCH>(c, pv, top, [&](int b) { return there(b) ? at(b) + peak : -1; });
          fetch_ones<Part, BATCH>(c, pv, total, [&](int b) { return there(b) ? at(b) + sum : -1; });
        }
#pragma unroll
        for (int b = 0; b < BATCH; b++)
          if (there(b)) join(o[i], tops[i], totals[i], make_float2(y[b][0], y[b][1]), top[b] * LOG2E, total[b]);
      }
    }
    if constexpr (TEAMS > 1) {
      const int e = c.thread() % PAIRS, team = c.thread() / PAIRS;
      float* mine = box + (team - 1) * 4 * PAIRS + e;
      use_ahead(c, o, tops, totals);
      if (team > 0 && team < TEAMS) mine[0] = tops[0], mine[PAIRS] = totals[0], mine[2 * PAIRS] = o[0].x, mine[3 * PAIRS] = o[0].y;
      meet();
#pragma unroll
      for (int t = 1; t < TEAMS; t++) {
        const float* other = box + (t - 1) * 4 * PAIRS + e;
        if (team == 0) join(o[0], tops[0], totals[0], make_float2(other[2 * PAIRS], other[3 * PAIRS]), other[0], other[PAIRS]);
      }
    } else {
      use_ahead(c, o, tops, totals);
      meet();
    }
  }

  /// Partial results in plain memory are read for good.
  static __device__ __forceinline__ void use_ahead(const Cta& c, const float2 (&o)[PER], const float (&tops)[PER],
                                                   const float (&totals)[PER]) {
    if constexpr (Part::SPACE == PLAIN) {
      u32 read = 0;
#pragma unroll
      for (int i = 0; i < PER; i++)
        read |= __float_as_uint(o[i].x) | __float_as_uint(o[i].y) | __float_as_uint(tops[i]) | __float_as_uint(totals[i]);
      use(c, read);
    }
  }

  /// Two neighboring elements, the first one even.
  static __device__ __forceinline__ void put_pair(const View<Part>& pv, int e, float x, float y) {
    if constexpr (Part::SPACE == FLAGGED)
      store_pair(const_cast<u64*>(words_at(pv, e)), __float_as_uint(x), __float_as_uint(y), pv.epoch);
    else
      put_two(pv, e, x, y);
  }

  /// Merges another partial result (of outputs y, maximum and sum) into one.
  static __device__ __forceinline__ void join(float2& o, float& top, float& total, float2 y, float other, float sum) {
    const float most = fmaxf(top, other), f = power(top - most), fo = power(other - most);
    top = most;
    total = total * f + sum * fo;
    o.x = o.x * f + y.x * fo, o.y = o.y * f + y.y * fo;
  }

  static __device__ __forceinline__ void run(Cta& c) {
    const View<Q> qv = view<Q>(c, c.field(A_Q), c.field(A_Q_USE));
    const View<K> kv = view<K>(c, c.field(A_K), c.field(A_K_USE)), vv = view<K>(c, c.field(A_V), c.field(A_V_USE));
    T* cache = reinterpret_cast<T*>(c.a.cache + (u64)c.field(A_CACHE) * 16);
    const int lo = c.field(LO), hi = P::TILES == 1 ? lo + 1 : c.field(HI);
    // [head][warp of head][HD]
    float* part = reinterpret_cast<float*>(smem + KV_STAGE + (P::MATRIX ? 0 : KV_BUFFERS * KV_BYTES));
    float* maxima = part + PARTS_OF_TILE * HD;             // [head][warp of head]
    float* sums = maxima + PARTS_OF_TILE;
    float* held = sums + PARTS_OF_TILE;  // results of all tiles but the last, when one instruction has several
    enter(c);
    if (!P::MATRIX && c.thread() == 0) store_release(smem + KV_GO, ticket(c));
    float2 mine[PER] = {};
#pragma unroll 1
    for (int tile = lo; tile < hi; tile++) {
      const int g = tile / P::SPLITS, s = tile % P::SPLITS;
      const bool active = c.pos >= s * P::CHUNK;
      if (active) {
        if constexpr (P::MATRIX) {
          by_matrix(c, qv, kv, vv, cache, g, s, part, maxima, sums);
        } else {
          const int lane = here(c.lane), group = lane / LANES, d = lane % LANES * 8, sub = c.warp % PER_HEAD;
          const bool here = d < HD;
          const int old = P::APPEND ? rows_below(c.pos, s) : rows_below(c.pos + 1, s), gone = rows_gone(c.pos, s);
          const bool owner = P::APPEND && rows_below(c.pos + 1, s) > old;
          const int before = gone / CHUNK_ROWS;  // chunks of which the window has no row
          const int chunks = gone < old ? (old + CHUNK_ROWS - 1) / CHUNK_ROWS - before : 0;
          const bool fresh = owner && here && group == 0 && sub == 0;
#pragma unroll 1
          for (int first = 0; first < G; first += AT_ONCE) {
            const int head = first + c.warp / PER_HEAD;
            const bool busy = head < G;
            float q[8], m = NEVER, l = 0.f, acc[8] = {};
            {
              Row<T> k_new, v_new;
              inputs(c, qv, kv, vv, here && busy, fresh && busy, (g * G + head) * HD + d, g * HD + d, d, q, k_new, v_new);
              AMK_FRESH(c);
#pragma unroll
              for (int i = 0; i < 8; i++) q[i] *= Q_SCALE;
              if constexpr (P::APPEND) {
                const float score = score_of(dot(q, k_new));
                if (owner && group == 0 && sub == 0) {
                  m = score, l = 1.f;
                  v_new.get(acc);
                  if (here && head == 0) {
                    T* p = cache + ((u64)g * P::CACHE_ROWS + c.pos) * 2 * HD + d;
                    k_new.store(p);
                    v_new.store(p + HD);
                  }
                }
              }
            }
            u32 buffer = c.chunk % KV_BUFFERS, parity = c.chunk / KV_BUFFERS;
#pragma unroll 1
            for (int i = 0; i < chunks; i++) {
              const int from = P::WINDOW == 0 ? i * CHUNK_ROWS : max(gone, (before + i) * CHUNK_ROWS);
              const int count = min(old, (before + i + 1) * CHUNK_ROWS) - from;
              const T* chunk = reinterpret_cast<const T*>(smem + KV_STAGE + buffer * KV_BYTES) + d;
              barrier_wait(c, kv_full(buffer), parity, ON_ROWS, buffer);
#pragma unroll 1
              for (int j = sub * ROWS; busy && j < count; j += PER_HEAD * ROWS * DEPTH) {
                float score[DEPTH];
                Row<T> k[DEPTH], v[DEPTH];
#pragma unroll
                for (int u = 0; u < DEPTH; u++) {
                  const int r = min(j + u * PER_HEAD * ROWS + group, count - 1);  // a row too many has no weight
                  if (HD % (8 * LANES) != 0) k[u].clear(), v[u].clear();
                  if (HD % (8 * LANES) == 0 || here) k[u].load(chunk + r * 2 * HD), v[u].load(chunk + r * 2 * HD + HD);
                }
                float top = m;
#pragma unroll
                for (int u = 0; u < DEPTH; u++) {
                  score[u] = score_of(dot(q, k[u]));
                  if (j + u * PER_HEAD * ROWS + group >= count) score[u] = NEVER;
                  top = fmaxf(top, score[u]);
                }
                const float shrink = power(m - top);
                m = top, l *= shrink;
#pragma unroll
                for (int i = 0; i < 8; i++) acc[i] *= shrink;
#pragma unroll
                for (int u = 0; u < DEPTH; u++) {
                  const float p = score[u] == NEVER ? 0.f : power(score[u] - top);
                  l += p;
                  float f[8];
                  v[u].get(f);
#pragma unroll
                  for (int i = 0; i < 8; i++) acc[i] = fmaf(p, f[i], acc[i]);
                }
              }
              u32 read = 0;  // of what these sums are made
#pragma unroll
              for (int i = 0; i < 8; i++) read |= __float_as_uint(acc[i]);
              warp_arrive(c, kv_empty(buffer), read);
              if (++buffer == KV_BUFFERS) buffer = 0, parity ^= 1;
            }
            c.chunk = parity * KV_BUFFERS + buffer;
            if (!busy) continue;

#pragma unroll
            for (int o = LANES; o < 32; o <<= 1) {  // groups of the warp
              const float top = fmaxf(m, __shfl_xor_sync(ALL, m, o)), f = power(m - top);
              m = top;
              l *= f;
              l += __shfl_xor_sync(ALL, l, o);
#pragma unroll
              for (int i = 0; i < 8; i++) {
                acc[i] *= f;
                acc[i] += __shfl_xor_sync(ALL, acc[i], o);
              }
            }
            const int at = head * PER_HEAD + sub;
            if (here && group == 0) {
              float4* p = reinterpret_cast<float4*>(part + at * HD + d);
              p[0] = make_float4(acc[0], acc[1], acc[2], acc[3]);
              p[1] = make_float4(acc[4], acc[5], acc[6], acc[7]);
            }
            if (c.lane == 0) maxima[at] = m, sums[at] = l;
          }
        }
        meet();

        // every thread merges its pairs of outputs over the warps, and over the other splits
        float2 o[PER];
        float tops[PER], totals[PER];
#pragma unroll
        for (int i = 0; i < PER; i++) {
          const int e = c.thread() + i * THREADS, h = e / (HD / 2);
          o[i] = make_float2(0.f, 0.f), tops[i] = NEVER, totals[i] = 0.f;
          if (e >= PAIRS) continue;
          const int first = h * PER_HEAD;
#pragma unroll
          for (int w = first; w < first + PER_HEAD; w++) tops[i] = fmaxf(tops[i], maxima[w]);
#pragma unroll
          for (int w = first; w < first + PER_HEAD; w++) {
            const float f = power(maxima[w] - tops[i]);
            const float2 y = reinterpret_cast<const float2*>(part)[w * (HD / 2) + e % (HD / 2)];
            totals[i] = fmaf(sums[w], f, totals[i]);
            o[i].x = fmaf(y.x, f, o[i].x), o[i].y = fmaf(y.y, f, o[i].y);
          }
        }
        if constexpr (P::SINKS) {
          const auto* sinks = reinterpret_cast<const typename P::Sinks*>(c.a.fixed + (u64)c.field(A_SINKS) * 16) + g * G;
#pragma unroll
          for (int i = 0; i < PER; i++) {
            const int e = c.thread() + i * THREADS;
            if (e >= PAIRS || s != 0) continue;
            const float sink = (float)sinks[e / (HD / 2)] * LOG2E, top = fmaxf(tops[i], sink), f = power(tops[i] - top);
            tops[i] = top;
            totals[i] = totals[i] * f + power(sink - top);
            o[i].x *= f, o[i].y *= f;
          }
        }
        if constexpr (P::SPLITS > 1) {
          const View<Part> pv = view<Part>(c, c.field(A_PART), c.field(A_PART_USE));
          if (s > 0) {
            const int at = (g * (P::SPLITS - 1) + s - 1) * PART_SIZE;
#pragma unroll
            for (int i = 0; i < PER; i++) {
              const int e = c.thread() + i * THREADS, h = e / (HD / 2);
              if (e >= PAIRS) continue;
              put_pair(pv, at + 2 * e, o[i].x, o[i].y);
              if (e % (HD / 2) == 0) {
                put_one(pv, at + G * HD + h, tops[i] / LOG2E);
                put_one(pv, at + G * HD + G + h, totals[i]);
              }
            }
          } else {
            const int others = min(P::SPLITS - 1, c.pos / P::CHUNK);
            if (others > 0) merge(c, pv, g, others, o, tops, totals, held);
          }
        }
#pragma unroll
        for (int i = 0; i < PER; i++) mine[i] = make_float2(__fdividef(o[i].x, totals[i]), __fdividef(o[i].y, totals[i]));
      }
      if constexpr (P::TILES > 1) {
        if (active && s == 0 && tile < hi - 1) {
#pragma unroll
          for (int i = 0; i < PER; i++) {
            const int e = c.thread() + i * THREADS;
            if (e < PAIRS) reinterpret_cast<float2*>(held)[(tile - lo) * PAIRS + e] = mine[i];
          }
        }
        meet();  // the stage is free for the next tile
        if (tile < hi - 1) continue;
        const View<typename P::Out> out = view<typename P::Out>(c, c.field(A_OUT), c.field(A_OUT_USE));
        for (int other = lo; other < hi - 1; other++) {
          if (other % P::SPLITS != 0) continue;
          for (int e = c.thread(); e < PAIRS; e += THREADS) {
            const float2 y = reinterpret_cast<const float2*>(held)[(other - lo) * PAIRS + e];
            put_two(out, other / P::SPLITS * G * HD + 2 * e, y.x, y.y);
          }
        }
      }
      if (s == 0) {
        const View<typename P::Out> out = view<typename P::Out>(c, c.field(A_OUT), c.field(A_OUT_USE));
#pragma unroll
        for (int i = 0; i < PER; i++) {
          const int e = c.thread() + i * THREADS;
          if (e < PAIRS) put_two(out, g * G * HD + 2 * e, mine[i].x, mine[i].y);
        }
      }
    }
    meet();
  }
};
