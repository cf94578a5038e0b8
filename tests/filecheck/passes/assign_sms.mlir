// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=3},convert-task-to-sched{num-sms=3}' | filecheck %s --check-prefix=BEFORE
// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=3},convert-task-to-sched{num-sms=3},assign-sms' | filecheck %s
// Equal shares give SM 0 less of everything: 1 tile of qkv, none of o and of down, which share rows
// with the residual stream. Balanced, it gets 3 of the 6 tiles of gate_up, and 2 of qkv.

// BEFORE:      sched.sm 0 {
// BEFORE-NEXT: @l0.qkv[0 to 1]  @l0.gate_up[0 to 2]  @lm_head[0 to 1]
// BEFORE-NEXT: }

// CHECK:      sched.sm 0 {
// CHECK-NEXT: @l0.qkv[0 to 2]  @l0.gate_up[0 to 3]  @lm_head[0 to 1]
// CHECK-NEXT: }
