// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task,assign-sms' 2>&1 | filecheck %s
// Before there are queues, nothing can be balanced.

// CHECK: error: the module has no sched.program
