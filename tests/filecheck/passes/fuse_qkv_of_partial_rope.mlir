// RUN: amk-opt %s -p fuse-qkv | filecheck %s
// Where part of a head rotates, the pack makes pairs of that part neighbors, and leaves the rest.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @model.layers.3.self_attn.q_proj.weight : tensor<16x16xf32>
  model.weight @model.layers.3.self_attn.k_proj.weight : tensor<8x16xf32>
  model.weight @model.layers.3.self_attn.v_proj.weight : tensor<8x16xf32>
  model.rope_table @rope scale 1.0 [1.0]
  model.cache @kv rows 64 heads 2 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  %ql = model.linear %h, @model.layers.3.self_attn.q_proj.weight : tensor<16xf32> -> tensor<16xf32>
  %kl = model.linear %h, @model.layers.3.self_attn.k_proj.weight : tensor<16xf32> -> tensor<8xf32>
  %v = model.linear %h, @model.layers.3.self_attn.v_proj.weight : tensor<16xf32> -> tensor<8xf32>
  %q = model.rope %ql, @rope at %pos head_dim 4 rotary 2 : tensor<16xf32> -> tensor<16xf32>
  %k = model.rope %kl, @rope at %pos head_dim 4 rotary 2 : tensor<8xf32> -> tensor<8xf32>
  model.kv_append %k, %v, @kv at %pos : tensor<8xf32>, tensor<8xf32>
  %a = model.attention %q, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK:     = concat(rope @model.layers.3.self_attn.q_proj.weight, rope @{{.*}}, rows @{{.*}}) head_dim 4 rotary 2 :
// CHECK:     %q, %k, %v = model.qkv %h, @layers.3.qkv rope @rope rotary 2 at %pos heads 4 kv_heads 2 head_dim 4
