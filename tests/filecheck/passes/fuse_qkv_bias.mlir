// RUN: amk-opt %s -p fuse-qkv | filecheck %s
// Biases are packed as their rows are. Weights without a common name give the pack none.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @q.w : tensor<16x16xf32>
  model.weight @k.w : tensor<8x16xf32>
  model.weight @v.w : tensor<8x16xf32>
  model.weight @q.b : tensor<16xf32>
  model.weight @k.b : tensor<8xf32>
  model.weight @v.b : tensor<8xf32>
  model.rope_table @rope scale 1.0 [1.0, 0.5]
  model.cache @kv rows 64 heads 2 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  %ql = model.linear %h, @q.w bias @q.b : tensor<16xf32> -> tensor<16xf32>
  %kl = model.linear %h, @k.w bias @k.b : tensor<16xf32> -> tensor<8xf32>
  %v = model.linear %h, @v.w bias @v.b : tensor<16xf32> -> tensor<8xf32>
  %q = model.rope %ql, @rope at %pos head_dim 4 : tensor<16xf32> -> tensor<16xf32>
  %k = model.rope %kl, @rope at %pos head_dim 4 : tensor<8xf32> -> tensor<8xf32>
  model.kv_append %k, %v, @kv at %pos : tensor<8xf32>, tensor<8xf32>
  %a = model.attention %q, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK:      model.pack @qkv = concat(rope @q.w, rope @k.w, rows @v.w) head_dim 4 : tensor<32x16xf32>
// CHECK-NEXT: model.pack @qkv_bias = concat(rope @q.b, rope @k.b, rows @v.b) head_dim 4 : tensor<32xf32>
// CHECK:      model.qkv %h, @qkv bias @qkv_bias rope @rope
