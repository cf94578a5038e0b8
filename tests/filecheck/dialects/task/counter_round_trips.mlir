// RUN: amk-opt %s | amk-opt | filecheck %s
// Counters name their family and the tiles at which they begin.

task.program @step {
  model.weight @table : tensor<16x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : plain<4xf32>
  task.counter @head.ready of @head [0, 1, 2]
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
}

// CHECK: task.counter @head.ready of @head {{\[}}0, 1, 2]
