// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'convert-model-to-task' | filecheck %s
// Without fusion every operator of the model is a family of its own kernel.

// CHECK: task.family @l0.input_layernorm rms_norm n 16
// CHECK: task.family @l0.q gemv n 16
// CHECK: task.family @l0.rope rope heads 4 head_dim 4
// CHECK: task.family @l0.append append kv_heads 2 head_dim 4
// CHECK: task.family @l0.attention attention
// CHECK: task.family @l0.add binary n 16 tile 8 op add
// CHECK: task.family @l0.silu_mul binary n 24 tile 8 op silu_mul
// CHECK: task.family @argmax argmax n 40 x @logits out @token
