// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},convert-task-to-sched{num-sms=2},plan-stream{ring-kb=8}' | filecheck %s
// A copy of 16 KiB would be the whole ring of 8 KiB, and nothing would arrive while it is consumed.

// CHECK: sched.ring slots 8 columns 32 group 4 consumers 8 window 2
