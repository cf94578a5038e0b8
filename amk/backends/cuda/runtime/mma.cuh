// One slot times x: 8 rows x SLOT_COLUMNS columns, by one warp.
//
// A slot is an array of chunks; chunk j holds 64 bytes of each of the 8 rows, row after row, so lane l reads 16 bytes
// of row l / 4 at l * 16. bf16: a chunk is 32 columns and two mma.m16n8k16 whose first operand is x (the same in all
// rows: lane l holds columns 8 * (l % 4) .. + 7) and whose 8-column operand is the weights. The order of columns within a
// chunk is free, because x is read in the same order. f32: a chunk is 16 columns and 4 FMAs a lane.

template <class T>
struct Dot;

template <>
struct Dot<bf16> {
  static constexpr int CHUNK = 32, CHUNKS = SLOT_COLUMNS / CHUNK;
  using X = uint4;  ///< x of one chunk in one lane

  float c[4][4] = {};

  __device__ __forceinline__ static void mma(float (&c)[4], u32 a0, u32 a2, u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%5},{%7,%8},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(0u), "r"(a2), "r"(b0), "r"(b1));
  }

  /// A slot in registers: it can be there before x is.
  struct Slot {
    static constexpr bool HELD = true;
    uint4 w[CHUNKS];

    __device__ __forceinline__ void load(const unsigned char* slot, int lane) {
#pragma unroll
      for (int j = 0; j < CHUNKS; j++) w[j] = reinterpret_cast<const uint4*>(slot)[j * 32 + lane];
    }
  };

  template <class At>
  __device__ __forceinline__ void add(const Slot& s, int, At x) {
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) {
      const uint4 v = x(j);
      mma(c[2 * j & 3], v.x, v.y, s.w[j].x, s.w[j].y);
      mma(c[(2 * j + 1) & 3], v.z, v.w, s.w[j].z, s.w[j].w);
    }
  }

  /// Leaves the 8 sums in an entry (lanes 0 to 3 hold two each).
  __device__ __forceinline__ void put(u32 entry, int lane, u32 tag) const {
    const float y0 = (c[0][0] + c[1][0]) + (c[2][0] + c[3][0]), y1 = (c[0][1] + c[1][1]) + (c[2][1] + c[3][1]);
    if (lane < 4)
      asm volatile("st.relaxed.cta.shared.v2.u64 [%0],{%1,%2};" ::"r"(entry + lane * 16),
                   "l"((u64)tag << 32 | __float_as_uint(y0)), "l"((u64)tag << 32 | __float_as_uint(y1))
                   : "memory");
  }
};

template <>
struct Dot<float> {
  static constexpr int CHUNK = 16, CHUNKS = SLOT_COLUMNS / CHUNK;
  using X = float4;

  float c[2] = {};

  struct Slot {
    static constexpr bool HELD = false;  ///< too many registers: it stays where it is
    const unsigned char* w;

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
    if (!(lane & 3))
      asm volatile("st.relaxed.cta.shared.u64 [%0],%1;" ::"r"(entry + lane * 2), "l"((u64)tag << 32 | __float_as_uint(y))
                   : "memory");
  }
};
