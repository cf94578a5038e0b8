// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower{num-sms=2}' | amk-opt -p verify-vm | filecheck %s
// The default: fused, flagged. Five families a layer besides the merge inside attention, no counter
// at all, one queue an SM; only the SM that runs argmax has one instruction more.

// CHECK:      vm.counters 0
// CHECK-NEXT: sched.ring
// CHECK:      vm.queue 0 {
// CHECK-NEXT: vm.run @embed[0 to 1]
// CHECK-NEXT: vm.run @l0.qkv[0 to 2]
// CHECK-NEXT: vm.run @l0.attention[0 to 1]
// CHECK-NEXT: vm.run @l0.o[0 to 1]
// CHECK-NEXT: vm.run @l0.gate_up[0 to 3]
// CHECK-NEXT: vm.run @l0.down[0 to 1]
// CHECK-NEXT: vm.run @lm_head[0 to 1]
// CHECK-NEXT: }
// CHECK-NEXT: vm.queue 1 {
// CHECK:      vm.run @argmax[0 to 1]
// CHECK-NEXT: }
