// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2 sync=counters splits=2 chunk=16},to-sched{num-sms=2},convert-sched-to-vm' | filecheck %s
// A segment waits for all tiles of each group that it reads, and signals the groups of its tiles:
// attention of head 0 (tile 1) reads tile 0 of qkv for its queries, tiles 2 and 3 for k and v; the
// merge (tile 0) also waits for the partial result.

// CHECK: vm.counters 13
// CHECK: vm.run @embed[0 to 1] signal 0 += 1
// CHECK: vm.run @l0.qkv[0 to 2] wait 0 >= 2 signal 8 += 1, 9 += 1
// CHECK: vm.run @l0.attention[1 to 2] fence wait 8 >= 1, 10 >= 1, 11 >= 1 signal 2 += 1
// CHECK: vm.run @l0.attention[0 to 1] fence wait 2 >= 1, 8 >= 1, 10 >= 1, 11 >= 1 signal 1 += 1
// CHECK: vm.run @l0.gate_up[0 to 3] wait 7 >= 2 signal 6 += 3
