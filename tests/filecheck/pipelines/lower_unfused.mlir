// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower-unfused{num-sms=3 sync=counters}' | filecheck %s
// Every operator of the model, one kernel each, under the same proofs.

// CHECK-DAG: vm.kernel @l0.q gemv
// CHECK-DAG: vm.kernel @l0.rope rope
// CHECK-DAG: vm.kernel @l0.append append
// CHECK-DAG: vm.kernel @norm rms_norm
// CHECK-DAG: vm.kernel @l0.add binary
// CHECK: vm.queue 0 {
