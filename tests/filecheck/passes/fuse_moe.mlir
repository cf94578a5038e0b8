// RUN: amk-opt %S/../Inputs/moe.mlir -p fuse-norm,fuse-residual | filecheck %s
// The norm moves into router and experts alike, and the residual into the sum over choices.

// CHECK-NOT: rms_norm %h,
// CHECK: %r = model.linear %h, @layers.0.router norm @n0
// CHECK: %m = model.moe_gate_up %h, %ids, @layers.0.gate_up experts 4 norm @n0
// CHECK: %h1 = model.moe_down %m, %ids, %p, @layers.0.down experts 4 residual %h
