// RUN: amk-opt %s -p 'place-buffers{period=0}' | filecheck %s
// With period 0 every buffer stays by itself.

sched.program @step {
  model.weight @table : tensor<16x8xf32>
  model.weight @square : tensor<8x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @l0.y : flagged<8xf32>
  task.buffer @l1.y : flagged<8xf32>
  task.buffer @l2.y : flagged<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @l0 embed n 8 tile 4 token @token table @table out @l0.y
  task.family @l1 gemv n 8 tile 4 k 8 weight @square x @l0.y out @l1.y
  task.family @l2 gemv n 8 tile 4 k 8 weight @square x @l1.y out @l2.y
  task.family @head gemv n 16 tile 8 k 8 weight @table x @l2.y out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
  sched.sm 0 { @l0[0 to 1] @l1[0 to 1] @l2[0 to 1] @head[0 to 1] }
  sched.sm 1 { @l0[1 to 2] @l1[1 to 2] @l2[1 to 2] @head[1 to 2] @argmax[0 to 1] }
}

// CHECK-NOT: {{ in @}}
// CHECK:     task.buffer @l2.y : flagged<8xf32>{{$}}
