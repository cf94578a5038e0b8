// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,insert-sync{sync=counters}' | filecheck %s
// Counters follow from what overlaps: attention heads read the tiles of their own queries, keys
// and values, so each tile of @l0.qkv has a counter; everybody reads all of @embed.y, so its
// tiles share one.

// CHECK-DAG: task.buffer @token : flagged<1xi32>
// CHECK-DAG: task.buffer @l0.qkv.y : plain<32xf32>
// CHECK-DAG: task.counter @l0.qkv.ready of @l0.qkv {{\[}}0, 1, 2, 3, 4]
// CHECK-DAG: task.counter @embed.ready of @embed {{\[}}0, 2]
