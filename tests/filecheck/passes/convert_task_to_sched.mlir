// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},convert-task-to-sched{num-sms=2}' | filecheck %s
// Two SMs take half of the tiles of every family, in program order.

// CHECK:      sched.program @decode {
// CHECK:      sched.sm 0 {
// CHECK-NEXT: @embed[0 to 1]  @l0.qkv[0 to 2]  @l0.attention[0 to 1]
// CHECK:      sched.sm 1 {
// CHECK-NEXT: @embed[1 to 2]  @l0.qkv[2 to 4]  @l0.attention[1 to 2]
// CHECK:      @argmax[0 to 1]
