// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,choose-tiles{num-sms=8 chunk=16}' | filecheck %s
// 64 rows of cache are four chunks of 16, and 8 SMs for 2 heads take all four. Three partial
// results a head meet in a buffer.

// CHECK: task.buffer @l0.attention.part : plain<72xf32>
// CHECK: task.family @l0.attention attention
// CHECK-SAME: splits 4 chunk 16 part @l0.attention.part  // grid 8
