// RUN: not amk-opt %s 2>&1 | filecheck %s --check-prefix=BEFORE
// RUN: amk-opt %s --disable-verify -p order-queues 2>&1 | filecheck %s
// @head stands before @embed, on which it depends: such queues deadlock. In the order of the
// dependence graph they do not.

sched.program @step {
  model.weight @table : tensor<16x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
  sched.sm 0 { @head[0 to 1] @embed[0 to 1] }
  sched.sm 1 { @argmax[0 to 1] @head[1 to 2] }
}

// BEFORE: error: deadlock
// CHECK:      sched.sm 0 {
// CHECK-NEXT: @embed[0 to 1]  @head[0 to 1]
// CHECK:      sched.sm 1 {
// CHECK-NEXT: @head[1 to 2]  @argmax[0 to 1]
