// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W4) A cache has the KV heads of its attention.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.attention %h append %h, %h : tensor<16xf32>, tensor<16xf32>, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.attention %a needs a cache of 2 heads of 4, @kv has 4 of 4 (W4)
