// RUN: not amk-opt %s 2>&1 | filecheck %s
// (C1) A logical buffer is written once.

task.program @step {
  model.weight @table : tensor<16x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
  task.family @again embed n 8 tile 8 token @token table @table out @x
}

// CHECK: error: family @again writes @x[0:8], which family @embed writes in the same step (C1)
