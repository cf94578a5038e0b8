// RUN: amk-opt %S/../Inputs/tiny.mlir -p convert-model-to-task | filecheck %s
// Without fusion every operator is a family with a buffer of its own; two of a kind in one layer are
// numbered, and the token comes of the whole logits.

// CHECK:     task.family @l0.input_layernorm rms_norm
// CHECK:     task.family @l0.q gemv
// CHECK:     task.family @l0.rope rope heads 4
// CHECK:     task.family @l0.rope.2 rope heads 2
// CHECK:     task.family @l0.append append kv_heads 2 head_dim 4 k @l0.rope.2.y v @l0.v.y cache @layers.0.kv
// CHECK:     task.family @l0.add binary n 16 tile 8 op add a @embed.y b @l0.o.y
// CHECK:     task.family @l0.glu binary n 24 tile 8 op silu_mul a @l0.gate.y b @l0.up.y
// CHECK:     task.family @l0.add.2 binary
// CHECK:     task.family @argmax argmax n 40 x @logits out @token //
