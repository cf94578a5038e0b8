// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},verify-task' | filecheck %s
// RUN: not amk-opt %s --disable-verify -p verify-task 2>&1 | filecheck %s --check-prefix=BAD
// A valid program passes; one in which nobody writes what a family reads does not.

task.program @step {
  model.weight @table : tensor<16x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
}

// CHECK: task.program @decode
// BAD:   error: family @embed reads @token[0:1], which no instruction writes (C2)
