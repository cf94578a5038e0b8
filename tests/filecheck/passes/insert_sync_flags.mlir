// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,insert-sync' | filecheck %s
// Buffers that cross SMs become flagged. The residual stream stays with its SM, and nobody in the
// program reads the logits.

// CHECK-DAG: task.buffer @token : flagged<1xi32>
// CHECK-DAG: task.buffer @l0.qkv.y : flagged<32xf32>
// CHECK-DAG: task.buffer @l0.o.res : local<16xf32>
// CHECK-DAG: task.buffer @logits : plain<40xf32>
// CHECK-NOT: task.counter
