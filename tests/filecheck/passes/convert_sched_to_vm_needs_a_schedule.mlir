// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},convert-sched-to-vm' 2>&1 | filecheck %s
// Tasks without a schedule are nobody's instructions.

// CHECK: error: the module has no sched.program
