// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},to-sched{num-sms=2},verify-sched' | filecheck %s
// RUN: not amk-opt %s --disable-verify -p verify-sched 2>&1 | filecheck %s --check-prefix=BAD
// A valid schedule passes; one whose queues block each other does not.

sched.program @step {
  model.weight @table : tensor<16x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
  sched.sm 0 { @embed[0 to 1] @head[0 to 1] }
  sched.sm 1 { @argmax[0 to 1] @head[1 to 2] }
}

// CHECK: sched.program @decode
// BAD:   error: deadlock: instruction 0 of SM 1 (@argmax) waits for @pairs{{.*}} (D1)
