// RUN: amk-opt %s | amk-opt | filecheck %s
// model.attention appends to its cache itself, or follows a model.kv_append.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  model.cache @kv2 rows 64 heads 4 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.attention %h append %h, %h : tensor<16xf32>, tensor<16xf32>, @kv at %pos heads 4 kv_heads 4 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  model.kv_append %a, %h, @kv2 at %pos : tensor<16xf32>, tensor<16xf32>
  %b = model.attention %a, @kv2 at %pos heads 4 kv_heads 4 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: %a = model.attention %h append %h, %h : tensor<16xf32>, tensor<16xf32>, @kv at %pos heads 4 kv_heads 4 head_dim 4 scale 5.000000e-01 : tensor<16xf32> -> tensor<16xf32>
// CHECK: model.kv_append %a, %h, @kv2 at %pos : tensor<16xf32>, tensor<16xf32>
// CHECK: %b = model.attention %a, @kv2 at %pos heads 4 kv_heads 4 head_dim 4 scale 5.000000e-01 : tensor<16xf32> -> tensor<16xf32>
