// RUN: amk-opt %s | amk-opt | filecheck %s
// Norms of parts: one weight for all parts, or an element for each element of x.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  model.weight @head : tensor<4xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  model.rope_table @rope scale 1.0 [1.0]
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.rms_norm %h, @g eps 1.000000e-05 groups 4 : tensor<16xf32> -> tensor<16xf32>
  %b = model.rms_norm %h, @head eps 1.000000e-05 groups 4 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: %a = model.rms_norm %h, @g eps 1.000000e-05 groups 4 : tensor<16xf32> -> tensor<16xf32>
// CHECK: %b = model.rms_norm %h, @head eps 1.000000e-05 groups 4 : tensor<16xf32> -> tensor<16xf32>
