// The token: what a kernel that chooses it leaves behind.

/// By one thread: for the next step's embedding, for every SM's loop, and for the host.
template <class O>
__device__ __forceinline__ void leave_token(const Cta& c, const View<O>& out, u32 token) {
  const u32 step = c.turn - c.a.turn;
  if constexpr (O::SPACE == FLAGGED)
    store_word(word_at(out, 0), token, out.epoch);
  else
    *reinterpret_cast<u32*>(out.base) = token;
  store_word(c.a.tokens + step, token, c.turn + 1);
  if (c.a.out) *reinterpret_cast<volatile int*>(c.a.out + step) = token;
}
