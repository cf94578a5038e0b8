// RUN: amk-opt %s -p fuse-qkv | filecheck %s
// Queries of a second attention on the same cache meet the same keys: all of them would have to
// change order together.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @q.w : tensor<16x16xf32>
  model.weight @k.w : tensor<8x16xf32>
  model.weight @v.w : tensor<8x16xf32>
  model.rope_table @rope scale 1.0 [1.0, 0.5]
  model.cache @kv rows 64 heads 2 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  %ql = model.linear %h, @q.w : tensor<16xf32> -> tensor<16xf32>
  %kl = model.linear %h, @k.w : tensor<16xf32> -> tensor<8xf32>
  %v = model.linear %h, @v.w : tensor<16xf32> -> tensor<8xf32>
  %q = model.rope %ql, @rope at %pos head_dim 4 : tensor<16xf32> -> tensor<16xf32>
  %k = model.rope %kl, @rope at %pos head_dim 4 : tensor<8xf32> -> tensor<8xf32>
  model.kv_append %k, %v, @kv at %pos : tensor<8xf32>, tensor<8xf32>
  %a = model.attention %q, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  %b = model.attention %a, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK-NOT: model.qkv
// CHECK-COUNT-2: model.rope
// CHECK-NOT: model.qkv
