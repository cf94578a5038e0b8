// The kernel: set-up, the loader, and the token loops of consumers and finishers. `dispatch` and
// `complete` (emitted) run and finish one instruction.

/// Entry of the queue: kernel and code, tiles lo and hi, place of its counters.
__device__ __forceinline__ const u32* queue_entry(int index) {
  return reinterpret_cast<const u32*>(smem + QUEUE_AT) + index * 4;
}

/// Lane i of the result holds field i of instruction `index`: the kernel's operands, then the entry of the queue.
__device__ __forceinline__ u32 load_record(int index, int lane) {
  const u32* entry = queue_entry(index);
  return lane < FIELDS ? __ldg(&OPS[entry[0] & 0xfffff][lane < FIELDS ? lane : 0]) : entry[lane - FIELDS];
}

/// Makes `record` the running instruction's.
__device__ __forceinline__ void set_record(Cta& c, u32 record) {
  u32* fields = reinterpret_cast<u32*>(smem + RECORDS) + c.warp * 32;
  __syncwarp();
  fields[c.lane] = record;
  __syncwarp();
  c.record = fields;
}

/// The token that step t reads; returns false when the launch ends here. A step waits for the token of the step before
/// even where its own is given: this wait is part of what orders the two steps.
__device__ __forceinline__ bool next_token(Cta& c, int t) {
  u64 w = 0;
  if (TOKENS && t > 0) {
    u32 polls = 0;
    do w = load_word(c.a.tokens + t - 1);
    while (__any_sync(ALL, (u32)(w >> 32) != c.turn && !give_up(c, polls, ON_TOKEN, t - 1, c.turn)));
  }
  if (t < c.a.prompt_length) {
    c.token = __ldg(c.a.prompt + t);
    return true;
  }
  c.token = (int)(u32)w;
  return c.token != c.a.eos[0] && c.token != c.a.eos[1] && c.token != c.a.eos[2] && c.token != c.a.eos[3];
}

/// Runs `count` instructions a step; `padding` slots complete the last round of the stream, `padding_given` where the
/// next token is given.
__device__ __forceinline__ void consume(Cta& c, int count, int padding, int padding_given) {
  int t = 0;
  for (; t < c.a.steps; t++) {
    c.pos = c.a.start + t;
    c.turn = c.a.turn + t;
    c.index = -1;
#pragma unroll 1
    for (int i = 0; i < ROPE_TABLES; i++) {  // the step's rotations
      const RopeRow r = ROPE_ROWS[i];
      const float2* from = reinterpret_cast<const float2*>(c.a.fixed + (u64)r.from * 16) + (u64)c.pos * r.pairs;
#pragma unroll 1
      for (int j = c.thread(); j < (int)r.pairs; j += THREADS)
        reinterpret_cast<float2*>(smem + ROPES + r.at)[j] = __ldg(from + j);
    }
    const bool on = next_token(c, t);
    // one decision for all warps
    if (c.thread() == 0) set_flag(STEP, on && flag(GONE) == 0);
    meet_step();
    c.apart = false;
    if (flag(STEP) == 0) break;
    u32 next = load_record(0, c.lane);
#pragma unroll 1
    for (int i = 0; i < count; i++) {
      c.lane = here(c.lane), c.warp = here(c.warp);
      set_record(c, next);
      c.index = i;
      if (i + 1 < count) next = load_record(i + 1, c.lane);
      AMK_BEGIN(c);
#if AMK_COUNTERS
      counters_wait(c);
      dispatch(c);
      counters_signal(c);
#else
      dispatch(c);
#endif
      AMK_END(c);
    }
    // the rest of the stream's last round
    const int left = c.warp >= c.phase ? c.warp - c.phase : c.warp + WARPS - c.phase;
    if (left < (next_given(c) ? padding_given : padding)) {
      slot_wait(c);
      slot_free(c, 0);
    }
    c.phase = 0;
    meet_step();
  }
  set_flag(STOP, 1);
  if (t == c.a.steps) {  // the finishers wait for a word too
    set_flag(STEP, 0);
    meet_step();
  }
}

__device__ __forceinline__ void finish_blocks(Cta& c, int count) {
  for (int t = 0;; t++) {
    c.pos = c.a.start + t;
    c.turn = c.a.turn + t;
    meet_step();
    if (flag(STEP) == 0) break;
    u32 next = load_record(0, c.lane);
#pragma unroll 1
    for (int i = 0; i < count; i++) {
      c.lane = here(c.lane), c.warp = here(c.warp);
      set_record(c, next);
      c.index = i;
      if (i + 1 < count) next = load_record(i + 1, c.lane);
      complete(c);
    }
    meet_step();
  }
  if (c.warp == WARPS + FINISHERS) kv_retire(c);  // the one that copies rows
}

extern "C" __global__ void __launch_bounds__(BLOCK_THREADS, 1) amk_kernel(const __grid_constant__ Args a) {
  const int sm = blockIdx.x, thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const Stream stream = STREAMS[sm];
#pragma unroll 1
  for (int i = thread; i < (int)stream.instructions * 4; i += BLOCK_THREADS)
    reinterpret_cast<u32*>(smem + QUEUE_AT)[i] = QUEUES[stream.queue + i / 4][i % 4];
#pragma unroll 1
  for (int i = thread; i < ZEROED / 4; i += BLOCK_THREADS) reinterpret_cast<u32*>(smem + ZERO_AT)[i] = 0;
#pragma unroll 1
  for (int i = thread; i < LOCAL_BUFFERS; i += BLOCK_THREADS)
    reinterpret_cast<int*>(smem + LOCALS)[i] = LOCAL_FIRST[sm][i];
  if (thread == 0) {
    kv_init();
    ring_init();
#if AMK_ANNOTATE
    shadows_init();
#endif
  }
  __syncthreads();
  if (stream.instructions == 0) return;
  if (warp == WARPS) {
    stream_weights(a, a.stream + (u64)stream.from * 16, stream.slots, stream.slots_given, lane, ROWS_AHEAD + stream.ahead,
                   stream.tiles_ahead);
    return;
  }
  // row blocks are numbered from 1, and all before that one are finished
  Cta c{a, sm, warp, lane, 0, a.turn, 0, -1, nullptr, (u32)warp, 0, 0, 0, 1, 1, 0, false, 0, 0, 0};
  if (warp < WARPS)
    consume(c, stream.instructions, stream.padding, stream.padding_given);
  else
    finish_blocks(c, stream.instructions);
}
