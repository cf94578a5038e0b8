// RUN: amk-opt %s -p fuse-gate-up | filecheck %s
// The kind of the product goes with the fused matrix.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @gate : tensor<24x16xf32>
  model.weight @up : tensor<24x16xf32>
  model.weight @o : tensor<16x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %x = model.linear %h, @o : tensor<16xf32> -> tensor<16xf32>
  %g = model.linear %h, @gate : tensor<16xf32> -> tensor<24xf32>
  %u = model.linear %h, @up : tensor<16xf32> -> tensor<24xf32>
  %m = model.glu gelu_tanh %g, %u : tensor<24xf32>, tensor<24xf32> -> tensor<24xf32>
  model.return %token
}

// CHECK:     %m = model.gate_up %h, @gate_up kind gelu_tanh : tensor<16xf32> -> tensor<24xf32>
