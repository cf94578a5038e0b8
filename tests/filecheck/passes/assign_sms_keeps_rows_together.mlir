// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=3},convert-task-to-sched{num-sms=3},assign-sms,verify-sched' | filecheck %s
// embed, o and down meet in the local residual stream: whoever has tile 0 of one has it of all.

// CHECK:      sched.sm 1 {
// CHECK-NEXT: @embed[0 to 1] {{.*}} @l0.o[0 to 1]
// CHECK:      @l0.down[0 to 1]
// CHECK:      sched.sm 2 {
// CHECK-NEXT: @embed[1 to 2] {{.*}} @l0.o[1 to 2]
// CHECK:      @l0.down[1 to 2]
