// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,choose-tiles{num-sms=8 chunk=16}' | filecheck %s
// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,choose-tiles{num-sms=8 chunk=32}' | filecheck %s --check-prefix=SHORT
// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,choose-tiles{num-sms=8 chunk=16 splits=1}' | filecheck %s --check-prefix=ONE
// 2 KV heads on 8 SMs: 4 splits of the 64 rows, or 2 when a chunk has 32 rows. A partial result
// takes 2 heads x (4 outputs, a maximum, a sum) = 12 numbers, for every split but the merging one.

// CHECK: task.buffer @l0.attention.part : plain<72xf32>
// CHECK: task.family @l0.attention {{.*}} splits 4 chunk 16 part @l0.attention.part // grid 8

// SHORT: task.buffer @l0.attention.part : plain<24xf32>
// SHORT: splits 2 chunk 32

// ONE-NOT: part
// ONE:     task.family @l0.attention {{.*}} v @l0.qkv.y+24 // grid 2
