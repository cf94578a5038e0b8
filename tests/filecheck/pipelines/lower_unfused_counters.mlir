// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower-unfused{num-sms=2 sync=counters}' | amk-opt -p verify-vm | filecheck %s
// Every operator by itself, every dependence a counter of just the tiles that are read: an addition
// waits for the embedding's tile of its own rows, the norm for both tiles.

// CHECK-NOT: vm.buffer @embed.y : flagged
// CHECK:     vm.run @embed[0 to 1] signal 0 += 1
// CHECK:     vm.run @l0.input_layernorm[0 to 1] wait 0 >= 1, 1 >= 1
// CHECK:     vm.run @l0.add[0 to 1] wait 0 >= 1, {{[0-9]+}} >= 1 signal
// CHECK:     vm.run @embed[1 to 2] signal 1 += 1
// CHECK:     vm.run @l0.add[1 to 2] wait 1 >= 1, {{[0-9]+}} >= 1 signal
