// RUN: amk-opt %s --disable-verify -p order-queues | filecheck %s
// Split 0 of a head waits for the partial results of the others: it goes behind every tile of its
// family on its SM, also behind those of another head.

sched.program @step {
  model.weight @table : tensor<16x8xf32>
  model.weight @w : tensor<16x8xf32>
  model.cache @kv rows 8 heads 2 head_dim 4 : f32
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @k : flagged<16xf32>
  task.buffer @y : flagged<8xf32>
  task.buffer @part : flagged<12xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @k gemv n 16 tile 8 k 8 weight @w x @x out @k
  task.family @attention attention heads 2 kv_heads 2 head_dim 4 q @x out @y cache @kv scale 0.5 k @k v @k+8 splits 2 chunk 2 part @part
  task.family @head gemv n 16 tile 8 k 8 weight @table x @y out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
  sched.sm 0 { @attention[0 to 1] @embed[0 to 1] @k[0 to 2] @attention[1 to 2] @attention[2 to 3] @attention[3 to 4] @head[0 to 2] @argmax[0 to 1] }
}

// CHECK:      sched.sm 0 {
// CHECK-NEXT: @embed[0 to 1]  @k[0 to 2]  @attention[1 to 2]  @attention[3 to 4]  @attention[0 to 1]  @attention[2 to 3]
