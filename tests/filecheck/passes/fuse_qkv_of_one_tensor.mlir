// RUN: amk-opt %s -p fuse-qkv | filecheck %s
// Projections that are rows of one tensor become one pack of those rows; the packs between go.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @model.layers.3.self_attn.qkv_proj.weight : tensor<32x16xf32>
  model.pack @q = concat(rows @model.layers.3.self_attn.qkv_proj.weight[0 to 16]) : tensor<16x16xf32>
  model.pack @k = concat(rows @model.layers.3.self_attn.qkv_proj.weight[16 to 24]) : tensor<8x16xf32>
  model.pack @v = concat(rows @model.layers.3.self_attn.qkv_proj.weight[24 to 32]) : tensor<8x16xf32>
  model.rope_table @rope scale 1.0 [1.0, 0.5]
  model.cache @kv rows 64 heads 2 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  %ql = model.linear %h, @q : tensor<16xf32> -> tensor<16xf32>
  %kl = model.linear %h, @k : tensor<16xf32> -> tensor<8xf32>
  %v = model.linear %h, @v : tensor<16xf32> -> tensor<8xf32>
  %q = model.rope %ql, @rope at %pos head_dim 4 : tensor<16xf32> -> tensor<16xf32>
  %k = model.rope %kl, @rope at %pos head_dim 4 : tensor<8xf32> -> tensor<8xf32>
  model.kv_append %k, %v, @kv at %pos : tensor<8xf32>, tensor<8xf32>
  %a = model.attention %q, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK-NOT:  model.pack @q =
// CHECK:      model.pack @layers.3.qkv = concat(
// CHECK-SAME: rope @model.layers.3.self_attn.qkv_proj.weight[0 to 16],
// CHECK-SAME: rope @model.layers.3.self_attn.qkv_proj.weight[16 to 24],
// CHECK-SAME: rows @model.layers.3.self_attn.qkv_proj.weight[24 to 32]) head_dim 4 : tensor<32x16xf32>
// CHECK:      model.qkv %h
