// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower{num-sms=3 sync=counters}' | filecheck %s
// With counters the same queues wait and signal.

// CHECK: vm.buffer @l0.qkv.y : plain<32xf32>
// CHECK: vm.queue 0 {
// CHECK: vm.run @l0.qkv[0 to 2] wait {{[0-9]+}} >= 2 signal {{[0-9]+}} += 1, {{[0-9]+}} += 1
// CHECK: vm.run @argmax[0 to 1] wait {{[0-9]+}} >= 3{{$}}
