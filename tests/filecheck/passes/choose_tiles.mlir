// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,choose-tiles{num-sms=3 rows=16}' | filecheck %s
// Matrices get tiles of the given rows, the head about one tile for each SM, and a pair of
// candidates for each of its tiles.

// CHECK: task.buffer @lm_head.pairs : plain<6xf32>
// CHECK: task.family @l0.qkv gemv n 32 tile 16
// CHECK: task.family @lm_head gemv n 40 tile 16
// CHECK-SAME: grid 3,
// CHECK: task.family @argmax argmax n 3 x @lm_head.pairs
