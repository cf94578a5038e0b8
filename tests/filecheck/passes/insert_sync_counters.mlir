// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,insert-sync{sync=counters}' | filecheck %s
// Counters are per group of tiles that the same reads need. Of the four tiles of qkv (8 rows each),
// head 0 of attention needs tile 0 of the queries and head 1 tile 1; both need all of k (tile 2) and
// v (tile 3), 4 rows of each. All of gate_up is needed by every tile of down: one counter. The
// token goes from step to step and is flagged in this mode too.

// CHECK:      task.buffer @token : flagged<1xi32>
// CHECK:      task.buffer @l0.qkv.y : plain<32xf32>
// CHECK:      task.counter @l0.gate_up.ready of @l0.gate_up [0, 6]
// CHECK:      task.counter @l0.qkv.ready of @l0.qkv [0, 1, 2, 3, 4]
// CHECK-NOT:  task.counter @argmax.ready
