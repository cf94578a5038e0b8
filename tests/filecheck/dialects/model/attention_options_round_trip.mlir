// RUN: amk-opt %s | amk-opt | filecheck %s
// model.attention: window, softcap and sinks are optional.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  model.weight @head : tensor<4xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  model.rope_table @rope scale 1.0 [1.0]
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.attention %h append %h, %h : tensor<16xf32>, tensor<16xf32>, @kv at %pos heads 4 kv_heads 4 head_dim 4 scale 5.000000e-01 window 8 softcap 5.000000e+01 sinks @head : tensor<16xf32> -> tensor<16xf32>
  %b = model.attention %a, @kv at %pos heads 4 kv_heads 4 head_dim 4 scale 5.000000e-01 window 8 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: %a = model.attention %h append %h, %h : tensor<16xf32>, tensor<16xf32>, @kv at %pos heads 4 kv_heads 4 head_dim 4 scale 5.000000e-01 window 8 softcap 5.000000e+01 sinks @head : tensor<16xf32> -> tensor<16xf32>
// CHECK: %b = model.attention %a, @kv at %pos heads 4 kv_heads 4 head_dim 4 scale 5.000000e-01 window 8 : tensor<16xf32> -> tensor<16xf32>
