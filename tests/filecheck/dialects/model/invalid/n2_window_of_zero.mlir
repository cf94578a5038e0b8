// RUN: not amk-opt %s 2>&1 | filecheck %s
// (N2) A window is positive.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  %a = model.attention %h append %h, %h : tensor<16xf32>, tensor<16xf32>, @kv at %pos heads 4 kv_heads 4 head_dim 4 scale 0.5 window 0 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.attention %a window must be positive, got 0 (N2)
