// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'convert-model-to-task,insert-sync{sync=flags}' | filecheck %s
// A cache that another family writes than reads is plain memory in both modes: one counter a KV
// head, because each tile of attention reads the rows of one.

// CHECK:     task.counter @l0.append.ready of @l0.append [0, 1, 2]
// CHECK-NOT: task.counter
