// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower{num-sms=2 sync=counters}' | amk-opt -p verify-vm | filecheck %s
// With counters every hop is a signal and a wait; the token alone is flagged, and embed waits for
// nothing but its word.

// CHECK:     vm.buffer @token : flagged<1xi32>
// CHECK-NOT: flagged
// CHECK:     vm.run @embed[0 to 1] signal 0 += 1
// CHECK:     vm.run @l0.qkv[0 to 2] wait 0 >= 2 signal
// CHECK:     vm.run @argmax[0 to 1] wait {{[0-9]+}} >= 2{{$}}
