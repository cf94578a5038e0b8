// RUN: amk-opt %s -p fuse-gate-up | filecheck %s
// Gate and up, biases and all, become one matrix of interleaved rows.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @model.layers.0.mlp.gate_proj.weight : tensor<24x16xf32>
  model.weight @model.layers.0.mlp.gate_proj.bias : tensor<24xf32>
  model.weight @model.layers.0.mlp.up_proj.weight : tensor<24x16xf32>
  model.weight @model.layers.0.mlp.up_proj.bias : tensor<24xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %g = model.linear %h, @model.layers.0.mlp.gate_proj.weight bias @model.layers.0.mlp.gate_proj.bias : tensor<16xf32> -> tensor<24xf32>
  %u = model.linear %h, @model.layers.0.mlp.up_proj.weight bias @model.layers.0.mlp.up_proj.bias : tensor<16xf32> -> tensor<24xf32>
  %m = model.glu silu %g, %u : tensor<24xf32>, tensor<24xf32> -> tensor<24xf32>
  model.return %token
}

// CHECK:      model.pack @layers.0.gate_up = interleave(rows @model.layers.0.mlp.gate_proj.weight, rows @model.layers.0.mlp.up_proj.weight) : tensor<48x16xf32>
// CHECK-NEXT: model.pack @layers.0.gate_up_bias = interleave(rows @model.layers.0.mlp.gate_proj.bias, rows @model.layers.0.mlp.up_proj.bias) : tensor<48xf32>
// CHECK:      %h = model.embed
// CHECK-NEXT: %m = model.gate_up %h, @layers.0.gate_up bias @layers.0.gate_up_bias kind silu : tensor<16xf32> -> tensor<24xf32>
