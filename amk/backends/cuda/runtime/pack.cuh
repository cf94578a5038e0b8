// Packing at load time: rows of a checkpoint tensor to their slots, or to a plain table.

/// Row i of the launch is row `from[i]` of the source (k columns of type S) and goes to byte 16 * to[i] of the target:
/// its 64 bytes of chunk 0 of slot 0; later chunks lie 512 bytes, later slots SLOT_BYTES apart.
template <class S, class T>
__device__ __forceinline__ void pack_rows(const S* source, unsigned char* target, const u32* from, const u64* to, int k) {
  constexpr int CHUNK = 64 / sizeof(T);
  const S* x = source + (u64)from[blockIdx.x] * k;
  unsigned char* y = target + to[blockIdx.x] * 16;
  for (int i = threadIdx.x; i < k; i += blockDim.x) {
    const int slot = i / SLOT_COLUMNS, col = i % SLOT_COLUMNS;
    reinterpret_cast<T*>(y + (u64)slot * SLOT_BYTES + col / CHUNK * 512)[col % CHUNK] = (T)(float)x[i];
  }
}

/// Row i of the launch is row from[i] of the source and row to[i] of the target, both of k columns.
template <class S, class T>
__device__ __forceinline__ void place_rows(const S* source, T* target, const u32* from, const u64* to, int k) {
  const S* x = source + (u64)from[blockIdx.x] * k;
  T* y = target + to[blockIdx.x] * k;
  for (int i = threadIdx.x; i < k; i += blockDim.x) y[i] = (T)(float)x[i];
}

extern "C" __global__ void amk_place_bf16(const bf16* s, Streamed* t, const u32* from, const u64* to, int k) {
  place_rows(s, t, from, to, k);
}
extern "C" __global__ void amk_place_f32(const float* s, Streamed* t, const u32* from, const u64* to, int k) {
  place_rows(s, t, from, to, k);
}
extern "C" __global__ void amk_pack_bf16(const bf16* s, unsigned char* t, const u32* from, const u64* to, int k) {
  pack_rows<bf16, Streamed>(s, t, from, to, k);
}
extern "C" __global__ void amk_pack_f32(const float* s, unsigned char* t, const u32* from, const u64* to, int k) {
  pack_rows<float, Streamed>(s, t, from, to, k);
}
