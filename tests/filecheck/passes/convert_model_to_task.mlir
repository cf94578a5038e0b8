// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task' | filecheck %s
// Every value becomes a logical buffer, every operator a family; the residual stream is kept a
// second time beside the SM that owns its rows.

// CHECK:      task.program @decode {
// CHECK:      task.buffer @token : plain<1xi32>
// CHECK-NEXT: task.buffer @embed.y : plain<16xf32>
// CHECK-NEXT: task.buffer @embed.res : local<16xf32>
// CHECK:      task.family @embed embed n 16 tile 8 token @token table @model.embed_tokens.weight out @embed.y res @embed.res
// CHECK-NEXT: task.family @l0.qkv gemv n 32
// CHECK-SAME: epilogue rope rope @rope heads 4 kv_heads 2 head_dim 4
// CHECK-NEXT: task.family @l0.attention attention heads 4 kv_heads 2 head_dim 4 q @l0.qkv.y out @l0.attention.y cache @layers.0.kv scale 0.5 k @l0.qkv.y+16 v @l0.qkv.y+24
// CHECK-NEXT: task.family @l0.o gemv n 16
// CHECK-SAME: epilogue residual res_in @embed.res res_out @l0.o.res
// CHECK-NEXT: task.family @l0.gate_up gemv n 48
// CHECK-SAME: epilogue swiglu
// CHECK-NEXT: task.family @l0.down
// CHECK-NEXT: task.family @lm_head
// CHECK-SAME: epilogue logits cand @lm_head.pairs
// CHECK-NEXT: task.family @argmax argmax n 5 x @lm_head.pairs out @token pairs 1
