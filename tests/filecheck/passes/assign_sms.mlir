// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=3},convert-task-to-sched{num-sms=3},assign-sms' | filecheck %s
// Four tiles of @l0.qkv on three SMs: SM 0 has streamed nothing before, since rows that meet in
// local buffers are with SMs 1 and 2, so it takes the extra one.

// CHECK: sched.sm 0 {
// CHECK: @l0.qkv[0 to 2]
// CHECK: sched.sm 1 {
// CHECK: @l0.qkv[2 to 3]
// CHECK: sched.sm 2 {
// CHECK: @l0.qkv[3 to 4]
