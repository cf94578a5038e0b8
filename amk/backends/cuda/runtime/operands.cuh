// Operands: how an element of a buffer is read and written in each space.
//
// A *unit* is what one thread reads at once: two neighboring flagged words (16 bytes), that is 4 bf16 or 2 f32; the
// same number of elements of a plain or local buffer.

enum Space { FLAGGED, PLAIN, LOCAL };

/// A buffer operand's type: where it lies and what it holds.
template <int SPACE_, class T_>
struct Operand {
  static constexpr int SPACE = SPACE_;
  using T = T_;
  static constexpr bool HALF = sizeof(T_) == 2;
  static constexpr int WORD = HALF ? 2 : 1;  ///< elements in a flagged word
  static constexpr int UNIT = 2 * WORD;
};

/// An operand of the running instruction, its address and epoch resolved.
template <class O>
struct View {
  unsigned char* base;
  u32 epoch;
  u32 first;  ///< flagged: number of the first word
};

/// `place` and `uses` are the two fields that the emitter writes for a reference: flagged: the first word's number,
/// and uses << 16 | use + 1; plain: the byte offset / 2; local: the element's and the buffer's number.
template <class O>
__device__ __forceinline__ View<O> view(const Cta& c, u32 place, u32 uses) {
  if constexpr (O::SPACE == FLAGGED)
    return {c.a.words, c.turn * (uses >> 16) + (uses & 0xffff), place};
  else if constexpr (O::SPACE == PLAIN)
    return {c.a.words + (u64)place * 2, 0, 0};
  else {
    const int* first = reinterpret_cast<const int*>(smem + LOCALS);
    return {smem + (int)(first[uses] + place * (u32)sizeof(typename O::T)), 0, 0};
  }
}

/// Address of a flagged word. Every four (a sector of L2) have a line of their own: a line serves one sector at a time, and
/// all SMs want the same ones.
template <class O>
__device__ __forceinline__ u64* word_at(const View<O>& v, int w) {
  const u32 n = v.first + w;
  return reinterpret_cast<u64*>(v.base + (u64)(n / 4) * SECTOR_STEP + n % 4 * 8);
}

__device__ __forceinline__ ulonglong2 load_pair(const u64* p) {
  ulonglong2 v;
  asm volatile("ld.relaxed.gpu.global.v2.u64 {%0,%1},[%2];" : "=l"(v.x), "=l"(v.y) : "l"(p));
  return v;
}

__device__ __forceinline__ u64 load_word(const u64* p) {
  u64 v;
  asm volatile("ld.relaxed.gpu.global.u64 %0,[%1];" : "=l"(v) : "l"(p));
  return v;
}

__device__ __forceinline__ void store_word(u64* p, u32 payload, u32 epoch) {
  asm volatile("st.relaxed.gpu.global.u64 [%0],%1;" ::"l"(p), "l"(((u64)epoch << 32) | payload) : "memory");
}

__device__ __forceinline__ void store_pair(u64* p, u32 x, u32 y, u32 epoch) {
  const u64 e = (u64)epoch << 32;
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0],{%1,%2};" ::"l"(p), "l"(e | x), "l"(e | y) : "memory");
}

/// Polls N pairs of words, all in flight together, until each carries its epoch; only stale pairs are read again.
/// `at(i)` is the address of pair i, or null for none (zeros); `epoch(i)` what it must carry. WHOLE: all lanes of the warp
/// take part.
///
/// Here and in every other polling loop the lanes that come together leave together: lanes that left one by one would
/// go on one by one, and every shuffle behind the loop would first have to gather them (300 cycles each). What the loop
/// does besides makes every hop longer: the watchdog is asked after some polls only.
/// `meanwhile()` runs once the first reads are under way.
template <bool WHOLE = false, int N, class At, class Epoch, class Meanwhile>
__device__ __forceinline__ void poll(const Cta& c, ulonglong2 (&w)[N], At at, Epoch epoch, Meanwhile meanwhile) {
  const u32 lanes = WHOLE ? ALL : __activemask();
#pragma unroll
  for (int i = 0; i < N; i++) {
    w[i].x = w[i].y = (u64)epoch(i) << 32;
    if (at(i)) w[i] = load_pair(at(i));
  }
  meanwhile();
  for (u32 polls = 1;; polls++) {
    bool again = false;
#pragma unroll
    for (int i = 0; i < N; i++) again |= (u32)(w[i].x >> 32) != epoch(i) || (u32)(w[i].y >> 32) != epoch(i);
    if (!__any_sync(lanes, again)) break;
    if (polls % UNWATCHED == 0 && !__any_sync(lanes, again && !expired(c, polls, ON_WORD, word_number(c, at(0)), epoch(0)))) break;
#pragma unroll
    for (int i = 0; i < N; i++)
      if ((u32)(w[i].x >> 32) != epoch(i) || (u32)(w[i].y >> 32) != epoch(i)) w[i] = load_pair(at(i));
  }
}

template <bool WHOLE = false, int N, class At, class Epoch>
__device__ __forceinline__ void poll(const Cta& c, ulonglong2 (&w)[N], At at, Epoch epoch) {
  poll<WHOLE>(c, w, at, epoch, [] {});
}

/// Ahead of a barrier: plain memory from which `read` was loaded has been read for good. A barrier does not wait for loads
/// that are under way, and who passes it may let another SM overwrite what they are to read.
__device__ __forceinline__ void use(const Cta& c, u32 read) {
  if (read & c.a.none) set_flag(GONE, 1);  // never
}

/// The elements of a pair of words.
template <class O>
__device__ __forceinline__ void unpack(const ulonglong2& w, float (&out)[O::UNIT]) {
  const u32 x = (u32)w.x, y = (u32)w.y;
  if constexpr (O::HALF) {
    out[0] = low(x), out[1] = high(x), out[2] = low(y), out[3] = high(y);
  } else {
    out[0] = __uint_as_float(x), out[1] = __uint_as_float(y);
  }
}

/// Address of the words that hold a unit.
template <class O>
__device__ __forceinline__ const u64* words_at(const View<O>& v, int e) {
  return word_at(v, e / O::WORD);
}

/// Reads N units, all in flight together; `at(i)` is the first element of unit i, or negative for none (zeros).
/// Contract: a flagged operand is polled until every word carries its epoch.
template <class O, int N, class At>
__device__ __forceinline__ void fetch(const Cta& c, const View<O>& v, float (&out)[N][O::UNIT], At at) {
  if constexpr (O::SPACE == FLAGGED) {
    ulonglong2 w[N];
    auto address = [&](int i) -> const u64* {
      const int e = at(i);
      return e < 0 ? nullptr : words_at(v, O::HALF ? e : here(e));  // of fp32 there are too many to keep
    };
    poll(c, w, address, [&](int) { return v.epoch; });
#pragma unroll
    for (int i = 0; i < N; i++) unpack<O>(w[i], out[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) {
      const int e = at(i);
#pragma unroll
      for (int j = 0; j < O::UNIT; j++) {
        if constexpr (O::SPACE == PLAIN) {
          // not through the L1 cache, which other SMs' writes do not reach
          if constexpr (O::HALF) {
            unsigned short x = 0;
            if (e >= 0) asm volatile("ld.relaxed.gpu.global.u16 %0,[%1];" : "=h"(x) : "l"(v.base + 2ll * (e + j)));
            out[i][j] = low(x);
          } else {
            u32 x = 0;
            if (e >= 0) asm volatile("ld.relaxed.gpu.global.u32 %0,[%1];" : "=r"(x) : "l"(v.base + 4ll * (e + j)));
            out[i][j] = __uint_as_float(x);
          }
        } else {
          out[i][j] = e < 0 ? 0.f : (float)reinterpret_cast<const typename O::T*>(v.base)[e + j];
        }
      }
    }
  }
}

/// The same of a flagged operand, by all lanes of a warp; `meanwhile()` runs once the first reads are under way.
template <class O, int N, class At, class Meanwhile>
__device__ __forceinline__ void fetch_whole(const Cta& c, const View<O>& v, float (&out)[N][O::UNIT], At at, Meanwhile meanwhile) {
  ulonglong2 w[N];
  auto address = [&](int i) -> const u64* {
    const int e = at(i);
    return e < 0 ? nullptr : words_at(v, O::HALF ? e : here(e));
  };
  poll<true>(c, w, address, [&](int) { return v.epoch; }, meanwhile);
#pragma unroll
  for (int i = 0; i < N; i++) unpack<O>(w[i], out[i]);
}

/// Element e alone.
template <class O>
__device__ __forceinline__ float fetch_one(const Cta& c, const View<O>& v, int e) {
  if constexpr (O::SPACE == FLAGGED) {
    const u64* p = word_at(v, e / O::WORD);
    const u32 lanes = __activemask();
    u64 w;
    u32 polls = 0;
    do w = load_word(p);
    while (__any_sync(lanes, (u32)(w >> 32) != v.epoch && !give_up(c, polls, ON_WORD, word_number(c, p), v.epoch)));
    if constexpr (O::HALF)
      return e & 1 ? high((u32)w) : low((u32)w);
    else
      return __uint_as_float((u32)w);
  } else {
    if constexpr (O::SPACE == PLAIN) {
      if constexpr (O::HALF) {
        unsigned short x;
        asm volatile("ld.relaxed.gpu.global.u16 %0,[%1];" : "=h"(x) : "l"(v.base + 2ll * e));
        return low(x);
      } else {
        u32 x;
        asm volatile("ld.relaxed.gpu.global.u32 %0,[%1];" : "=r"(x) : "l"(v.base + 4ll * e));
        return __uint_as_float(x);
      }
    } else {
      return (float)reinterpret_cast<const typename O::T*>(v.base)[e];
    }
  }
}

/// Element e alone, of integers.
template <class O>
__device__ __forceinline__ int fetch_int(const Cta& c, const View<O>& v, int e) {
  if constexpr (O::SPACE == LOCAL)
    return reinterpret_cast<const int*>(v.base)[e];
  else
    return __float_as_int(fetch_one(c, v, e));  // the same 32 bits
}

/// Writes element e, of integers.
template <class O>
__device__ __forceinline__ void put_int(const View<O>& v, int e, int x) {
  if constexpr (O::SPACE == FLAGGED)
    store_word(word_at(v, e), (u32)x, v.epoch);
  else
    reinterpret_cast<int*>(v.base)[e] = x;
}

/// Writes elements e and e + 1 (e even where a word holds two); `two` false: only the first exists.
template <class O>
__device__ __forceinline__ void put_two(const View<O>& v, int e, float x, float y, bool two = true) {
  if constexpr (O::SPACE == FLAGGED) {
    u64* p = word_at(v, e / O::WORD);
    if constexpr (O::HALF) {
      store_word(p, pack(x, two ? y : 0.f), v.epoch);
    } else {
      store_word(p, __float_as_uint(x), v.epoch);
      if (two) store_word(word_at(v, e + 1), __float_as_uint(y), v.epoch);
    }
  } else {
    typename O::T* p = reinterpret_cast<typename O::T*>(v.base);
    p[e] = (typename O::T)x;
    if (two) p[e + 1] = (typename O::T)y;
  }
}

/// Writes element e; only where a word holds one element.
template <class O>
__device__ __forceinline__ void put_one(const View<O>& v, int e, float x) {
  static_assert(O::SPACE != FLAGGED || !O::HALF, "a flagged word of two elements is written at once");
  if constexpr (O::SPACE == FLAGGED)
    store_word(word_at(v, e), __float_as_uint(x), v.epoch);
  else
    reinterpret_cast<typename O::T*>(v.base)[e] = (typename O::T)x;
}

/// Immutable vectors (norm weights, biases): elements e .. e + N - 1.
template <int N>
__device__ __forceinline__ void load_fixed(const bf16* p, int e, float (&out)[N]) {
#pragma unroll
  for (int j = 0; j < N; j += 2) {
    const u32 w = __ldg(reinterpret_cast<const u32*>(p + e + j));
    out[j] = low(w);
    if (j + 1 < N) out[j + 1] = high(w);
  }
}

template <int N>
__device__ __forceinline__ void load_fixed(const float* p, int e, float (&out)[N]) {
#pragma unroll
  for (int j = 0; j < N; j++) out[j] = __ldg(p + e + j);
}

/// Reads N single elements of fp32, all in flight together; `at(i)` as in fetch.
template <class O, int N, class At>
__device__ __forceinline__ void fetch_ones(const Cta& c, const View<O>& v, float (&out)[N], At at) {
  static_assert(!O::HALF, "single elements are fp32");
  if constexpr (O::SPACE == FLAGGED) {
    const u32 lanes = __activemask();
    u64 w[N];
#pragma unroll
    for (int i = 0; i < N; i++) w[i] = (u64)(at(i) < 0 ? v.epoch : ~v.epoch) << 32;
    for (u32 polls = 0;;) {
#pragma unroll
      for (int i = 0; i < N; i++)
        if ((u32)(w[i] >> 32) != v.epoch) w[i] = load_word(word_at(v, at(i)));
      bool again = false;
#pragma unroll
      for (int i = 0; i < N; i++) again |= (u32)(w[i] >> 32) != v.epoch;
      if (!__any_sync(lanes, again && !give_up(c, polls, ON_WORD, word_number(c, word_at(v, at(0))), v.epoch))) break;
    }
#pragma unroll
    for (int i = 0; i < N; i++) out[i] = __uint_as_float((u32)w[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) out[i] = at(i) >= 0 ? fetch_one(c, v, at(i)) : 0.f;
  }
}
