// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,choose-tiles{num-sms=2 rows=16}' | filecheck %s
// Matrices get tiles of `rows` rows; the head about one tile an SM, with as many candidates, and
// argmax follows.

// CHECK: task.buffer @lm_head.pairs : plain<4xf32>
// CHECK: task.family @embed embed n 16 tile 16
// CHECK: task.family @l0.qkv gemv n 32 tile 16
// CHECK: task.family @l0.gate_up gemv n 48 tile 16
// CHECK: task.family @lm_head gemv n 40 tile 24
// CHECK: task.family @argmax argmax n 2
