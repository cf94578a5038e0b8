// Two layers of a mixture of four experts, of which two are chosen, as a frontend writes it.
model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @embed : tensor<64x32xf32>
  model.weight @n0 : tensor<32xf32>
  model.weight @n1 : tensor<32xf32>
  model.weight @nf : tensor<32xf32>
  model.weight @layers.0.router : tensor<4x32xf32>
  model.weight @layers.0.gate : tensor<96x32xf32>
  model.weight @layers.0.up : tensor<96x32xf32>
  model.weight @layers.0.down : tensor<128x24xf32>
  model.weight @layers.1.router : tensor<4x32xf32>
  model.weight @layers.1.gate : tensor<96x32xf32>
  model.weight @layers.1.up : tensor<96x32xf32>
  model.weight @layers.1.down : tensor<128x24xf32>
  model.pack @layers.0.gate_up = interleave(rows @layers.0.gate, rows @layers.0.up) : tensor<192x32xf32>
  model.pack @layers.1.gate_up = interleave(rows @layers.1.gate, rows @layers.1.up) : tensor<192x32xf32>
  %h = model.embed %token, @embed : tensor<32xf32>
  %x = model.rms_norm %h, @n0 eps 1.0e-05 : tensor<32xf32> -> tensor<32xf32>
  %r = model.linear %x, @layers.0.router : tensor<32xf32> -> tensor<4xf32>
  %ids, %p = model.topk %r choices 2 normalize : tensor<4xf32> -> tensor<2xi32>, tensor<2xf32>
  %m = model.moe_gate_up %x, %ids, @layers.0.gate_up experts 4 : tensor<32xf32>, tensor<2xi32> -> tensor<48xf32>
  %y = model.moe_down %m, %ids, %p, @layers.0.down experts 4 : tensor<48xf32>, tensor<2xi32>, tensor<2xf32> -> tensor<32xf32>
  %h1 = model.add %h, %y : tensor<32xf32>, tensor<32xf32> -> tensor<32xf32>
  %x1 = model.rms_norm %h1, @n1 eps 1.0e-05 : tensor<32xf32> -> tensor<32xf32>
  %r1 = model.linear %x1, @layers.1.router : tensor<32xf32> -> tensor<4xf32>
  %ids1, %p1 = model.topk %r1 choices 2 : tensor<4xf32> -> tensor<2xi32>, tensor<2xf32>
  %m1 = model.moe_gate_up %x1, %ids1, @layers.1.gate_up experts 4 : tensor<32xf32>, tensor<2xi32> -> tensor<48xf32>
  %y1 = model.moe_down %m1, %ids1, %p1, @layers.1.down experts 4 : tensor<48xf32>, tensor<2xi32>, tensor<2xf32> -> tensor<32xf32>
  %h2 = model.add %h1, %y1 : tensor<32xf32>, tensor<32xf32> -> tensor<32xf32>
  %f = model.rms_norm %h2, @nf eps 1.0e-05 : tensor<32xf32> -> tensor<32xf32>
  %l = model.linear %f, @embed : tensor<32xf32> -> tensor<64xf32>
  %next = model.argmax %l : tensor<64xf32>
  model.return %next
}
