// RUN: amk-opt %S/../Inputs/moe.mlir -p fuse,convert-model-to-task | filecheck %s
// Results of experts lie by choice; a tile reads the ids of its choices, and claims all experts.

// CHECK: task.buffer @l0.topk.ids : plain<2xi32>
// CHECK: task.buffer @l0.gate_up.y : plain<48xf32>
// CHECK: task.family @l0.topk topk n 4 choices 2 x @l0.router.y ids @l0.topk.ids weights @l0.topk.weights normalize 1
// CHECK: task.family @l0.gate_up moe_gate_up n 48 tile 8 k 32 choices 2 experts 4
// CHECK: reads layers.0.gate_up[0:192] n0[0:32] l0.topk.ids[1:2] embed.y[0:32] writes l0.gate_up.y[40:48]
// CHECK: task.family @l0.down moe_down n 32 tile 8 k 24 choices 2 experts 4
// CHECK: task.family @l1.topk topk n 4 choices 2
// CHECK-NOT: normalize
