// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task,convert-sched-to-vm' 2>&1 | filecheck %s
// Families without queues are no instructions.

// CHECK: error: the module has no sched.program
