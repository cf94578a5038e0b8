// RUN: amk-opt %S/../Inputs/tiny.mlir -p fuse,convert-model-to-task | filecheck %s
// Values become buffers and operators families of tiles of 8 rows. The residual stream is kept a
// second time in local fp32, for the operator that adds to it on the same SM. The head leaves one
// candidate a tile, and argmax writes the buffer from which embed reads the token.

// CHECK-LABEL: task.program @decode
// CHECK:      task.buffer @token : plain<1xi32>
// CHECK-NEXT: task.buffer @embed.y : plain<16xf32>
// CHECK-NEXT: task.buffer @embed.res : local<16xf32>
// CHECK-NEXT: task.buffer @l0.qkv.y : plain<32xf32>
// CHECK:      task.family @embed embed n 16 tile 8 token @token table @model.embed_tokens.weight out @embed.y res @embed.res
// CHECK:      task.family @l0.qkv gemv n 32 tile 8 k 16 weight @layers.0.qkv x @embed.y
// CHECK:      task.family @l0.attention {{.*}} k @l0.qkv.y+16 v @l0.qkv.y+24
// CHECK:      task.family @l0.o {{.*}} epilogue residual res_in @embed.res res_out @l0.o.res
// CHECK:      task.family @l0.down {{.*}} epilogue residual res_in @l0.o.res{{ +//}}
// CHECK:      task.family @lm_head {{.*}} epilogue logits cand @lm_head.pairs
// CHECK-NEXT: task.family @argmax argmax n 5 x @lm_head.pairs out @token pairs 1
