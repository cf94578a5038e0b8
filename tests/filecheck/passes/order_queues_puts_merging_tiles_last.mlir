// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=4 splits=2 chunk=16},convert-task-to-sched{num-sms=2},order-queues' | filecheck %s
// The tile that merges the splits of a head (an even one) stands behind those it could wait for.

// CHECK: sched.sm 0 {
// CHECK: @l0.attention[1 to 2]  @l0.attention[0 to 1]
// CHECK: sched.sm 1 {
// CHECK: @l0.attention[3 to 4]  @l0.attention[2 to 3]
