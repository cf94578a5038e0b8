// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2 splits=4 chunk=16},convert-task-to-sched{num-sms=2}' | filecheck %s
// Tiles of attention are instructions of their own, and split 0 of a head, which merges the others,
// is behind them.

// CHECK: sched.sm 0
// CHECK: @l0.attention[1 to 2]  @l0.attention[2 to 3]  @l0.attention[3 to 4]  @l0.attention[0 to 1]
// CHECK: sched.sm 1
// CHECK: @l0.attention[5 to 6]  @l0.attention[6 to 7]  @l0.attention[7 to 8]  @l0.attention[4 to 5]
