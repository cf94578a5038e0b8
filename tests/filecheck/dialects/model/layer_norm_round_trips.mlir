// RUN: amk-opt %s | amk-opt | filecheck %s
// model.layer_norm: bias and groups are optional.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  model.weight @head : tensor<4xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  model.rope_table @rope scale 1.0 [1.0]
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.layer_norm %h, @g eps 1.000000e-05 : tensor<16xf32> -> tensor<16xf32>
  %b = model.layer_norm %h, @g bias @g eps 1.000000e-05 : tensor<16xf32> -> tensor<16xf32>
  %c = model.layer_norm %h, @head bias @head eps 1.000000e-05 groups 4 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: %a = model.layer_norm %h, @g eps 1.000000e-05 : tensor<16xf32> -> tensor<16xf32>
// CHECK: %b = model.layer_norm %h, @g bias @g eps 1.000000e-05 : tensor<16xf32> -> tensor<16xf32>
// CHECK: %c = model.layer_norm %h, @head bias @head eps 1.000000e-05 groups 4 : tensor<16xf32> -> tensor<16xf32>
