// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower{num-sms=3}' | filecheck %s
// The default pipeline ends in instructions without a counter: flagged words order everything.

// CHECK-NOT: model.program
// CHECK-NOT: task.
// CHECK: vm.program @decode {
// CHECK: vm.counters 0
// CHECK: vm.queue 2 {
// CHECK-NOT: {{wait|signal}}
// CHECK: vm.run @argmax[0 to 1]{{$}}
