// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W9) Row pos is written before attention reads it.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.attention %h, @kv at %pos heads 4 kv_heads 4 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  model.kv_append %h, %h, @kv at %pos : tensor<16xf32>, tensor<16xf32>
  model.return %token
}

// CHECK: error: model.attention %a reads row pos of @kv before any kv_append wrote it (W9)
