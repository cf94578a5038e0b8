// One slot times x: 8 rows x SLOT_COLUMNS columns, by one warp.
//
// A slot is an array of chunks; chunk j holds 64 bytes of each of the 8 rows, row after row, so lane l reads 16 bytes
// of row l / 4 at l * 16. bf16: a chunk is 32 columns and one mma.m16n8k16 whose first operand is the weights: its rows
// 0 to 7 are words 0 and 2 of each lane's 16 bytes, rows 8 to 15 words 1 and 3, as if they were other rows. x is the
// second operand: its column 0 what the former meet, column 1 what the latter meet (in lanes l < 8, words l / 4 and + 2 of
// columns 8 * (l % 4) .. + 7), and nobody looks at the other six. So a row's sum is element (row, 0) + element
// (row + 8, 1) of the result, both in lane 4 * row. The order of columns within a chunk is free, because x is read in the
// same order. f32: a chunk is 16 columns and 4 FMAs a lane.

template <class T>
struct Dot;

template <>
struct Dot<bf16> {
  static constexpr int CHUNK = 32, CHUNKS = SLOT_COLUMNS / CHUNK;
  using X = uint2;  ///< x of one chunk in one lane
  static constexpr int STRIDE = 8;  ///< X's in a chunk

  float c[4][4] = {};

  /// Where word w of x (two columns) lies in the stage: words 1 and 2 of every 4 change places, so that what one
  /// instruction takes of a lane's 16 bytes is in order both here and there.
  static __device__ __forceinline__ int place(int w) { return (w & ~3) | (w & 1) << 1 | (w >> 1 & 1); }

  /// The lane's X in a chunk.
  static __device__ __forceinline__ int first(int lane) { return 2 * (lane & 3) + (lane >> 2 & 1); }

  __device__ __forceinline__ static void mma(float (&c)[4], const uint4& a, const uint2& b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
  }

  /// A slot in registers: it can be there before x is.
  struct Slot {
    static constexpr bool HELD = true;
    uint4 w[CHUNKS];

    __device__ __forceinline__ void clear() {
#pragma unroll
      for (int j = 0; j < CHUNKS; j++) w[j] = make_uint4(0, 0, 0, 0);
    }

    __device__ __forceinline__ void load(const unsigned char* slot, int lane) {
#pragma unroll
      for (int j = 0; j < CHUNKS; j++) w[j] = reinterpret_cast<const uint4*>(slot)[j * 32 + lane];
    }

    /// Made of every load.
    __device__ __forceinline__ u32 read() const {
      u32 all = 0;
#pragma unroll
      for (int j = 0; j < CHUNKS; j++) all |= w[j].x;
      return all;
    }
  };

  template <class At>
  __device__ __forceinline__ void add(const Slot& s, int, At x) {
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) mma(c[j & 3], s.w[j], x(j));
  }

  /// Leaves the 8 sums in an entry (lane l has that of row l / 4).
  __device__ __forceinline__ void put(u32 entry, int lane, u32 tag) const {
    const float y = ((c[0][0] + c[0][3]) + (c[1][0] + c[1][3])) + ((c[2][0] + c[2][3]) + (c[3][0] + c[3][3]));
    if (!(lane & 3)) entry_put(entry + lane * 2, y, tag);
  }
};

template <>
struct Dot<float> {
  static constexpr int CHUNK = 16, CHUNKS = SLOT_COLUMNS / CHUNK;
  using X = float4;
  static constexpr int STRIDE = 4;

  float c[2] = {};

  /// Made of every load.
  __device__ __forceinline__ u32 read() const { return __float_as_uint(c[0]) | __float_as_uint(c[1]); }

  static __device__ __forceinline__ int first(int lane) { return lane & 3; }

  struct Slot {
    static constexpr bool HELD = false;  ///< too many registers: it stays where it is
    const unsigned char* w;

    __device__ __forceinline__ void clear() { w = nullptr; }

    __device__ __forceinline__ void load(const unsigned char* slot, int) { w = slot; }
  };

  template <class At>
  __device__ __forceinline__ void add(const Slot& slot, int lane, At x) {
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) {
      const float4 w = reinterpret_cast<const float4*>(slot.w)[j * 32 + lane], v = x(j);
      float& s = c[j & 1];
      s = fmaf(w.x, v.x, s), s = fmaf(w.y, v.y, s), s = fmaf(w.z, v.z, s), s = fmaf(w.w, v.w, s);
    }
  }

  __device__ __forceinline__ void put(u32 entry, int lane, u32 tag) const {
    float y = c[0] + c[1];
    y += __shfl_xor_sync(ALL, y, 1);
    y += __shfl_xor_sync(ALL, y, 2);
    if (!(lane & 3)) entry_put(entry + lane * 2, y, tag);
  }
};
