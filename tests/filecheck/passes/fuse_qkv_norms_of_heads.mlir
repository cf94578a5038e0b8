// RUN: amk-opt %s -p fuse-append,fuse-qkv,verify-model | filecheck %s
// A tile of the matrix has no whole head: norms of heads, and the rotation behind them, move into attention, which has.
// Weights of the norms stay in the order of a head, hence "halves".

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @model.layers.3.self_attn.q_proj.weight : tensor<16x16xf32>
  model.weight @model.layers.3.self_attn.k_proj.weight : tensor<8x16xf32>
  model.weight @model.layers.3.self_attn.v_proj.weight : tensor<8x16xf32>
  model.weight @qn : tensor<4xf32>
  model.weight @kn : tensor<4xf32>
  model.rope_table @rope scale 1.0 [1.0]
  model.cache @kv rows 64 heads 2 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  %ql = model.linear %h, @model.layers.3.self_attn.q_proj.weight : tensor<16xf32> -> tensor<16xf32>
  %kl = model.linear %h, @model.layers.3.self_attn.k_proj.weight : tensor<16xf32> -> tensor<8xf32>
  %v = model.linear %h, @model.layers.3.self_attn.v_proj.weight : tensor<16xf32> -> tensor<8xf32>
  %qm = model.rms_norm %ql, @qn eps 1.0e-06 groups 4 : tensor<16xf32> -> tensor<16xf32>
  %km = model.rms_norm %kl, @kn eps 1.0e-06 groups 2 : tensor<8xf32> -> tensor<8xf32>
  %q = model.rope %qm, @rope at %pos head_dim 4 rotary 2 : tensor<16xf32> -> tensor<16xf32>
  %k = model.rope %km, @rope at %pos head_dim 4 rotary 2 : tensor<8xf32> -> tensor<8xf32>
  model.kv_append %k, %v, @kv at %pos : tensor<8xf32>, tensor<8xf32>
  %a = model.attention %q, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  %next = model.argmax %a : tensor<16xf32>
  model.return %next
}

// CHECK-NOT: model.rms_norm
// CHECK:     %q, %k, %v = model.qkv %h, @layers.3.qkv at %pos heads 4 kv_heads 2 head_dim 4
// CHECK:     model.attention %q append %k, %v {{.*}} q_norm @qn k_norm @kn eps 1.000000e-06 rope @rope rotary 2 halves
