// RUN: amk-opt %s -p convert-sched-to-vm | filecheck %s
// Counters get numbers. An instruction signals once for each of its tiles, and waits for all
// tiles of every range that it reads from.

sched.program @step {
  model.weight @table : tensor<16x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : plain<4xf32>
  task.counter @head.ready of @head [0, 1, 2]
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
  sched.sm 0 { @embed[0 to 1] @head[0 to 1] }
  sched.sm 1 { @head[1 to 2] @argmax[0 to 1] }
}

// CHECK: vm.counters 2
// CHECK: vm.run @head[0 to 1] signal 0 += 1
// CHECK: vm.run @head[1 to 2] signal 1 += 1
// CHECK: vm.run @argmax[0 to 1] wait 0 >= 1, 1 >= 1
