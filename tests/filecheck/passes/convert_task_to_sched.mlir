// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=3},convert-task-to-sched{num-sms=3}' | filecheck %s
// Each family is shared out in contiguous ranges, remainders spread: four tiles of qkv on three SMs
// are 1, 1 and 2. Families keep program order in every queue.

// CHECK:      sched.sm 0 {
// CHECK-NEXT: @l0.qkv[0 to 1]
// CHECK:      sched.sm 1 {
// CHECK-NEXT: @embed[0 to 1]  @l0.qkv[1 to 2]
// CHECK:      sched.sm 2 {
// CHECK-NEXT: @embed[1 to 2]  @l0.qkv[2 to 4]
