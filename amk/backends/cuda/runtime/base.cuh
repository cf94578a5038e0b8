// Types, the kernel's arguments, and what every thread of an SM knows.
//
// Roles of a block: WARPS consumer warps run the SM's queue; one more warp, the loader, walks its weight stream; and
// FINISHERS warps complete the row blocks that the consumers have multiplied. (Registers are allotted to four warps at a
// time, so that finishers beside the loader cost nothing.)
// Constants in capitals (WARPS, SLOTS, ...) are written by the emitter in front of this file.

using u32 = unsigned int;
using u64 = unsigned long long;
using bf16 = __nv_bfloat16;

constexpr int THREADS = WARPS * 32;
constexpr int BLOCK_THREADS = THREADS + 32 + FINISHERS * 32;
constexpr int REPORTS = BLOCK_THREADS / 32;
constexpr u32 ALL = 0xffffffffu;

/// What the host passes. `turn` counts the steps of all earlier launches, so that epochs never recur.
struct Args {
  const unsigned char* stream;  ///< packed weights, one contiguous stream per SM
  const unsigned char* fixed;   ///< norm weights, biases, embedding and RoPE tables
  unsigned char* words;         ///< flagged and plain buffers
  unsigned char* cache;         ///< keys and values
  u32* counters;
  const int* prompt;  ///< tokens given; step t < prompt_length reads prompt[t]
  u64* tokens;        ///< one word a step: the token chosen, and turn + t + 1
  int* out;           ///< the same for the host (mapped memory), or null
  u32* report;        ///< 4 words a warp (REPORTS an SM): what the watchdog has to say
  u64* trace;         ///< time stamps, or null
  u64 seed;  ///< of the random numbers (sample.cuh)
  float inverse_temperature;  ///< 0 takes the likeliest token
  u32 top_k;      ///< tokens that stay, 0 for all
  u32 top_p_cut;  ///< share of the mass that may go, in units of 2^-32
  int prompt_length;
  int steps;
  int start;  ///< position of the first step
  u32 turn;
  u32 patience;  ///< polls that one wait may take
  int eos[4];  ///< tokens that end a launch; -1 is none
  u32 none;    ///< 0, which no compiler knows (warp_arrive, use)
};

extern __shared__ __align__(1024) unsigned char smem[];

/// State of one consumer thread. Everything but `lane` is uniform in a warp.
struct Cta {
  const Args& a;
  int sm, warp, lane;
  int pos;       ///< position of this step
  u32 turn;      ///< steps since the buffers were zeroed
  int token;     ///< input token of this step
  int index;     ///< index of the instruction in the queue
  const u32* record;  ///< fields of the instruction, in shared memory, one copy a warp
  u32 slot;      ///< this warp's next ring slot
  u32 parity;    ///< and the parity of its lap
  int phase;     ///< number of the next slot of the stream, modulo WARPS
  u32 entry;     ///< next entry of the ring of partial sums
  u32 reached;   ///< a block that all finishers have reached
  u32 block;     ///< row blocks so far, the tag of a partial sum
  u32 chunk;     ///< chunks of keys and values so far, modulo 2 KV_BUFFERS: the next buffer and the parity of its lap
  bool apart;    ///< warps may still read their private part of the stage
  int side;      ///< which of the two stages of rotating gemvs is next
  u32 settled, recent;  ///< the blocks that follow the last gemv but one, and the last, that used these stages

  __device__ __forceinline__ u32 field(int i) const { return record[i]; }
  __device__ __forceinline__ int thread() const { return warp * 32 + lane; }
};

/// Whether the host has given the token of the next step, so that this one need not choose it.
__device__ __forceinline__ bool next_given(const Cta& c) { return (int)(c.turn - c.a.turn) + 1 < c.a.prompt_length; }

__device__ __forceinline__ u32 shared(const void* p) { return (u32)__cvta_generic_to_shared(p); }

/// The same number, but what is computed from it is computed here, not ahead of all instructions: such values would take
/// registers everywhere.
__device__ __forceinline__ int here(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

__device__ __forceinline__ void* here(void* p) {
  asm volatile("" : "+l"(p));
  return p;
}

__device__ __forceinline__ float low(u32 w) { return __uint_as_float(w << 16); }
__device__ __forceinline__ float high(u32 w) { return __uint_as_float(w & 0xffff0000u); }

/// Two floats rounded to bf16, the first in the low half.
__device__ __forceinline__ u32 pack(float x, float y) {
  const __nv_bfloat162 h = __floats2bfloat162_rn(x, y);
  return *reinterpret_cast<const u32*>(&h);
}

__host__ __device__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

__host__ __device__ constexpr int power_of_two(int n) {
  int p = 1;
  while (p < n) p *= 2;
  return p;
}
