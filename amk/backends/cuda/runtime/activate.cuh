// Nonlinear functions of one number.

enum Activation { SILU, GELU, GELU_TANH, QUICK_GELU, RELU, RELU2 };

/// silu: x sigmoid(x). gelu: x Phi(x). gelu_tanh: the same with Phi approximated by tanh,
/// quick_gelu: by the sigmoid of 1.702 x. relu: max(x, 0). relu2: its square.
template <Activation KIND>
__device__ __forceinline__ float activate(float x) {
  if constexpr (KIND == SILU) return __fdividef(x, 1.f + expf(-x));
  if constexpr (KIND == GELU) return 0.5f * x * (1.f + erff(x * 0.70710678118654752f));
  if constexpr (KIND == GELU_TANH) return 0.5f * x * (1.f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  if constexpr (KIND == QUICK_GELU) return __fdividef(x, 1.f + expf(-1.702f * x));
  if constexpr (KIND == RELU) return fmaxf(x, 0.f);
  return fmaxf(x, 0.f) * fmaxf(x, 0.f);
}

/// cap tanh(x / cap)
__device__ __forceinline__ float capped(float x, float cap) { return cap * tanhf(x / cap); }
