// A decoder small enough to read: one layer, hidden 16, 4 query heads and 2 KV heads of 4, MLP 24,
// vocabulary 40, 64 rows of cache. The input of the tests of passes and pipelines.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @model.embed_tokens.weight : tensor<40x16xf32>
  model.weight @model.layers.0.input_layernorm.weight : tensor<16xf32>
  model.weight @model.layers.0.self_attn.q_proj.weight : tensor<16x16xf32>
  model.weight @model.layers.0.self_attn.k_proj.weight : tensor<8x16xf32>
  model.weight @model.layers.0.self_attn.v_proj.weight : tensor<8x16xf32>
  model.weight @model.layers.0.self_attn.o_proj.weight : tensor<16x16xf32>
  model.weight @model.layers.0.post_attention_layernorm.weight : tensor<16xf32>
  model.weight @model.layers.0.mlp.gate_proj.weight : tensor<24x16xf32>
  model.weight @model.layers.0.mlp.up_proj.weight : tensor<24x16xf32>
  model.weight @model.layers.0.mlp.down_proj.weight : tensor<16x24xf32>
  model.weight @model.norm.weight : tensor<16xf32>
  model.cache @layers.0.kv rows 64 heads 2 head_dim 4 : f32
  model.rope_table @rope scale 1.0 [1.0, 0.01]
  %h = model.embed %token, @model.embed_tokens.weight : tensor<16xf32>
  %x = model.rms_norm %h, @model.layers.0.input_layernorm.weight eps 1.0e-05 : tensor<16xf32> -> tensor<16xf32>
  %qp = model.linear %x, @model.layers.0.self_attn.q_proj.weight : tensor<16xf32> -> tensor<16xf32>
  %kp = model.linear %x, @model.layers.0.self_attn.k_proj.weight : tensor<16xf32> -> tensor<8xf32>
  %v = model.linear %x, @model.layers.0.self_attn.v_proj.weight : tensor<16xf32> -> tensor<8xf32>
  %q = model.rope %qp, @rope at %pos head_dim 4 : tensor<16xf32> -> tensor<16xf32>
  %k = model.rope %kp, @rope at %pos head_dim 4 : tensor<8xf32> -> tensor<8xf32>
  model.kv_append %k, %v, @layers.0.kv at %pos : tensor<8xf32>, tensor<8xf32>
  %a = model.attention %q, @layers.0.kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  %o = model.linear %a, @model.layers.0.self_attn.o_proj.weight : tensor<16xf32> -> tensor<16xf32>
  %m = model.add %h, %o : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  %z = model.rms_norm %m, @model.layers.0.post_attention_layernorm.weight eps 1.0e-05 : tensor<16xf32> -> tensor<16xf32>
  %g = model.linear %z, @model.layers.0.mlp.gate_proj.weight : tensor<16xf32> -> tensor<24xf32>
  %u = model.linear %z, @model.layers.0.mlp.up_proj.weight : tensor<16xf32> -> tensor<24xf32>
  %y = model.glu silu %g, %u : tensor<24xf32>, tensor<24xf32> -> tensor<24xf32>
  %d = model.linear %y, @model.layers.0.mlp.down_proj.weight : tensor<24xf32> -> tensor<16xf32>
  %e = model.add %m, %d : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  %n = model.rms_norm %e, @model.norm.weight eps 1.0e-05 : tensor<16xf32> -> tensor<16xf32>
  %l = model.linear %n, @model.embed_tokens.weight : tensor<16xf32> -> tensor<40xf32>
  %next = model.argmax %l : tensor<40xf32>
  model.return %next
}
