// RUN: amk-opt %s | amk-opt | filecheck %s
// Families print their kernel, and for the reader what their last tile touches.

task.program @step {
  model.weight @table : tensor<16x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
}

// CHECK:      task.buffer @x : flagged<8xf32>
// CHECK:      task.family @embed embed n 8 tile 8 token @token table @table out @x  // grid 1, last tile reads token[0:1] writes x[0:8]
// CHECK-NEXT: task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs  // grid 2, last tile reads table[8:16] x[0:8] writes logits[8:16] pairs[2:4]
