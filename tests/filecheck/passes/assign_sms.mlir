// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=3},convert-task-to-sched{num-sms=3}' | filecheck %s --check-prefix=BEFORE
// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=3},convert-task-to-sched{num-sms=3},assign-sms' | filecheck %s
// Equal shares give SM 0 least of everything: one of the 4 tiles of qkv, none of the 2 of o, whose
// rows are those of the residual stream. Balanced by bytes, it gets two tiles of qkv instead, and
// with them as much as the others.

// BEFORE:      sched.sm 0 {
// BEFORE-NEXT: @l0.qkv[0 to 1]  @l0.gate_up[0 to 2]  @lm_head[0 to 1]
// BEFORE-NEXT: }

// CHECK:      sched.sm 0 {
// CHECK-NEXT: @l0.qkv[0 to 2]  @l0.gate_up[0 to 2]  @lm_head[0 to 1]
// CHECK-NEXT: }
// CHECK-NEXT: sched.sm 1 {
// CHECK-NEXT: @embed[0 to 1]  @l0.qkv[2 to 3]
// CHECK:      sched.sm 2 {
// CHECK-NEXT: @embed[1 to 2]  @l0.qkv[3 to 4]
