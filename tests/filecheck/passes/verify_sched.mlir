// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},to-sched{num-sms=2},verify-sched' | filecheck %s
// verify-sched passes what the pipeline makes, and changes nothing.

// CHECK: sched.program @decode
