// RUN: amk-opt %s -p fuse-append | filecheck %s
// The one attention on a cache appends its new row.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.cache @kv rows 64 heads 2 head_dim 4 : f32
  model.weight @k.w : tensor<8x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %k = model.linear %h, @k.w : tensor<16xf32> -> tensor<8xf32>
  %v = model.linear %h, @k.w : tensor<16xf32> -> tensor<8xf32>
  model.kv_append %k, %v, @kv at %pos : tensor<8xf32>, tensor<8xf32>
  %a = model.attention %h, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK-NOT: model.kv_append
// CHECK: %a = model.attention %h append %k, %v : tensor<8xf32>, tensor<8xf32>, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 5.000000e-01 : tensor<16xf32> -> tensor<16xf32>
