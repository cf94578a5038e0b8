// What decoders beyond Llama are made of, in two layers. The first is like Gemma: norms after as well as before, of every
// head too, a window, capped scores; the second like NeoX: a layer norm, attention and MLP in parallel, partial rotation.
model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @embed : tensor<64x32xf32>
  model.weight @bias_norm : tensor<32xf32>
  model.weight @norm : tensor<32xf32>
  model.weight @head_norm : tensor<8xf32>
  model.weight @sinks : tensor<4xf32>
  model.weight @layers.0.q : tensor<32x32xf32>
  model.weight @layers.0.k : tensor<16x32xf32>
  model.weight @layers.0.v : tensor<16x32xf32>
  model.weight @layers.0.o : tensor<32x32xf32>
  model.weight @layers.0.gate : tensor<48x32xf32>
  model.weight @layers.0.up : tensor<48x32xf32>
  model.weight @layers.0.down : tensor<32x48xf32>
  model.cache @layers.0.kv rows 64 heads 2 head_dim 8 : f32
  model.cache @layers.1.kv rows 64 heads 2 head_dim 8 : f32
  model.rope_table @rope scale 1.0 [1.0, 0.1, 0.01, 0.001]
  model.rope_table @half scale 1.0 [1.0, 0.1]
  %h = model.embed %token, @embed multiplier 4.0 : tensor<32xf32>
  %x = model.rms_norm %h, @norm eps 1.0e-05 : tensor<32xf32> -> tensor<32xf32>
  %ql = model.linear %x, @layers.0.q : tensor<32xf32> -> tensor<32xf32>
  %kl = model.linear %x, @layers.0.k : tensor<32xf32> -> tensor<16xf32>
  %v = model.linear %x, @layers.0.v : tensor<32xf32> -> tensor<16xf32>
  %qn = model.rms_norm %ql, @head_norm eps 1.0e-06 groups 4 : tensor<32xf32> -> tensor<32xf32>
  %kn = model.rms_norm %kl, @head_norm eps 1.0e-06 groups 2 : tensor<16xf32> -> tensor<16xf32>
  %q = model.rope %qn, @rope at %pos head_dim 8 : tensor<32xf32> -> tensor<32xf32>
  %k = model.rope %kn, @rope at %pos head_dim 8 : tensor<16xf32> -> tensor<16xf32>
  model.kv_append %k, %v, @layers.0.kv at %pos : tensor<16xf32>, tensor<16xf32>
  %a = model.attention %q, @layers.0.kv at %pos heads 4 kv_heads 2 head_dim 8 scale 0.25 window 3 softcap 5.0 : tensor<32xf32> -> tensor<32xf32>
  %o = model.linear %a, @layers.0.o : tensor<32xf32> -> tensor<32xf32>
  %on = model.rms_norm %o, @norm eps 1.0e-05 : tensor<32xf32> -> tensor<32xf32>
  %m = model.add %h, %on : tensor<32xf32>, tensor<32xf32> -> tensor<32xf32>
  %z = model.rms_norm %m, @norm eps 1.0e-05 : tensor<32xf32> -> tensor<32xf32>
  %g = model.linear %z, @layers.0.gate : tensor<32xf32> -> tensor<48xf32>
  %u = model.linear %z, @layers.0.up : tensor<32xf32> -> tensor<48xf32>
  %y = model.glu gelu_tanh %g, %u : tensor<48xf32>, tensor<48xf32> -> tensor<48xf32>
  %d = model.linear %y, @layers.0.down : tensor<48xf32> -> tensor<32xf32>
  %dn = model.rms_norm %d, @norm eps 1.0e-05 : tensor<32xf32> -> tensor<32xf32>
  %e = model.add %m, %dn : tensor<32xf32>, tensor<32xf32> -> tensor<32xf32>
  %w = model.layer_norm %e, @norm bias @bias_norm eps 1.0e-05 : tensor<32xf32> -> tensor<32xf32>
  %q2l = model.linear %w, @layers.0.q : tensor<32xf32> -> tensor<32xf32>
  %k2l = model.linear %w, @layers.0.k : tensor<32xf32> -> tensor<16xf32>
  %q2 = model.rope %q2l, @half at %pos head_dim 8 rotary 4 interleaved : tensor<32xf32> -> tensor<32xf32>
  %k2 = model.rope %k2l, @half at %pos head_dim 8 rotary 4 interleaved : tensor<16xf32> -> tensor<16xf32>
  %a2 = model.attention %q2 append %k2, %k2l : tensor<16xf32>, tensor<16xf32>, @layers.1.kv at %pos heads 4 kv_heads 2 head_dim 8 scale 0.35 sinks @sinks : tensor<32xf32> -> tensor<32xf32>
  %o2 = model.linear %a2, @layers.0.o bias @bias_norm scale 0.22 : tensor<32xf32> -> tensor<32xf32>
  %u2 = model.linear %w, @layers.0.up : tensor<32xf32> -> tensor<48xf32>
  %y2 = model.activation relu2 %u2 : tensor<48xf32> -> tensor<48xf32>
  %d2 = model.linear %y2, @layers.0.down : tensor<48xf32> -> tensor<32xf32>
  %p = model.add %o2, %d2 : tensor<32xf32>, tensor<32xf32> -> tensor<32xf32>
  %f = model.add %e, %p : tensor<32xf32>, tensor<32xf32> -> tensor<32xf32>
  %l = model.linear %f, @embed : tensor<32xf32> -> tensor<64xf32>
  %s = model.scale %l by 0.5 : tensor<64xf32> -> tensor<64xf32>
  %c = model.softcap %s cap 30.0 : tensor<64xf32> -> tensor<64xf32>
  %next = model.argmax %c : tensor<64xf32>
  model.return %next
}
