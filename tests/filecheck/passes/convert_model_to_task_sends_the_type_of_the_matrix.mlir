// RUN: amk-opt %s -p convert-model-to-task | filecheck %s
// A value in fp32 that is normalized on the way into bf16 matrices is sent in bf16: half the words.
// Whoever adds to it finds it in fp32 beside its SM.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xbf16>
  model.weight @g : tensor<16xbf16>
  model.weight @a : tensor<16x16xbf16>
  %h = model.embed %token, @table : tensor<16xf32>
  %x = model.linear %h, @a norm @g eps 1.0e-05 : tensor<16xf32> -> tensor<16xbf16>
  %y = model.linear %x, @a residual %h : tensor<16xf32> : tensor<16xbf16> -> tensor<16xf32>
  %next = model.lm_head %y, @table norm @g eps 1.0e-05 : tensor<16xf32>
  model.return %next
}

// CHECK: task.buffer @embed.y : plain<16xbf16>
// CHECK: task.buffer @embed.res : local<16xf32>
