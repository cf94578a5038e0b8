// RUN: amk-opt %s -p fuse-gate-up | filecheck %s
// Gate and up that are rows of one tensor are interleaved from it.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @model.layers.0.mlp.gate_up_proj.weight : tensor<48x16xf32>
  model.pack @g = concat(rows @model.layers.0.mlp.gate_up_proj.weight[0 to 24]) : tensor<24x16xf32>
  model.pack @u = concat(rows @model.layers.0.mlp.gate_up_proj.weight[24 to 48]) : tensor<24x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %g = model.linear %h, @g : tensor<16xf32> -> tensor<24xf32>
  %u = model.linear %h, @u : tensor<16xf32> -> tensor<24xf32>
  %m = model.glu silu %g, %u : tensor<24xf32>, tensor<24xf32> -> tensor<24xf32>
  model.return %token
}

// CHECK:      = interleave(rows @model.layers.0.mlp.gate_up_proj.weight[0 to 24],
// CHECK-SAME: rows @model.layers.0.mlp.gate_up_proj.weight[24 to 48]) : tensor<48x16xf32>
// CHECK:      %m = model.gate_up %h
