// RUN: amk-opt %s -p order-queues | filecheck %s
// A queue is sorted by the depth of its families in the dependence graph, and families of one depth
// by program order: @twice and @head both follow @embed.

sched.program @step {
  model.weight @table : tensor<16x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @y : plain<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @embed embed n 8 tile 4 token @token table @table out @x
  task.family @twice binary n 8 tile 4 op add a @x b @x out @y
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
  sched.sm 0 { @embed[0 to 1] @head[0 to 1] @twice[0 to 1] }
  sched.sm 1 { @embed[1 to 2] @head[1 to 2] @argmax[0 to 1] @twice[1 to 2] }
}

// CHECK:      sched.sm 0 {
// CHECK-NEXT: @embed[0 to 1]  @twice[0 to 1]  @head[0 to 1]
// CHECK:      sched.sm 1 {
// CHECK-NEXT: @embed[1 to 2]  @twice[1 to 2]  @head[1 to 2]  @argmax[0 to 1]
