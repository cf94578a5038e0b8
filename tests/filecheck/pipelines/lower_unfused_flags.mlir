// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower-unfused{num-sms=2}' | amk-opt -p verify-vm | filecheck %s
// Every operator by itself. Only the cache, which the append writes and attention reads, has
// counters: one a KV head.

// CHECK:      vm.counters 2
// CHECK:      vm.run @l0.rope.2[0 to 1]
// CHECK-NEXT: vm.run @l0.append[0 to 1] signal 0 += 1
// CHECK-NEXT: vm.run @l0.attention[0 to 1] fence wait 0 >= 1
// CHECK:      vm.run @l0.glu[0 to 1]
// CHECK:      vm.run @l0.append[1 to 2] signal 1 += 1
// CHECK-NEXT: vm.run @l0.attention[1 to 2] fence wait 1 >= 1
