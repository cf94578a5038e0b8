// RUN: not amk-opt %s 2>&1 | filecheck %s
// (T1) Families stand in an order in which they could run.

task.program @step {
  model.weight @table : tensor<16x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
}

// CHECK: error: family @head reads @x, which @embed behind it writes (T1)
