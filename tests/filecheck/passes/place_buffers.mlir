// RUN: amk-opt %s -p place-buffers,verify-sched | filecheck %s
// Buffers of one role take turns, layer after layer. @a is written again when everybody has read
// its last value: whoever has all of @b knows that. What only one layer has keeps its place.

sched.program @step {
  model.weight @table : tensor<16x16xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<16xf32>
  task.buffer @l0.a.y : flagged<16xf32>
  task.buffer @l0.b.y : flagged<16xf32>
  task.buffer @l1.a.y : flagged<16xf32>
  task.buffer @l1.b.y : flagged<16xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @embed embed n 16 tile 8 token @token table @table out @x
  task.family @l0.a gemv n 16 tile 8 k 16 weight @table x @x out @l0.a.y
  task.family @l0.b gemv n 16 tile 8 k 16 weight @table x @l0.a.y out @l0.b.y
  task.family @l1.a gemv n 16 tile 8 k 16 weight @table x @l0.b.y out @l1.a.y
  task.family @l1.b gemv n 16 tile 8 k 16 weight @table x @l1.a.y out @l1.b.y
  task.family @head gemv n 16 tile 8 k 16 weight @table x @l1.b.y out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
  sched.sm 0 { @embed[0 to 1] @l0.a[0 to 1] @l0.b[0 to 1] @l1.a[0 to 1] @l1.b[0 to 1] @head[0 to 1] }
  sched.sm 1 { @embed[1 to 2] @l0.a[1 to 2] @l0.b[1 to 2] @l1.a[1 to 2] @l1.b[1 to 2] @head[1 to 2] @argmax[0 to 1] }
}

// CHECK: task.buffer @x : flagged<16xf32>{{$}}
// CHECK: task.buffer @l0.a.y : flagged<16xf32> in @a.y use 0
// CHECK: task.buffer @l0.b.y : flagged<16xf32> in @b.y use 0
// CHECK: task.buffer @l1.a.y : flagged<16xf32> in @a.y use 1
// CHECK: task.buffer @l1.b.y : flagged<16xf32> in @b.y use 1
// CHECK: task.buffer @logits : plain<16xf32>{{$}}
