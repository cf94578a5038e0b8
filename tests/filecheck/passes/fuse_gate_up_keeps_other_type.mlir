// RUN: amk-opt %s -p fuse-gate-up | filecheck %s
// A pack has one element type; weights of two are not joined.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @gate : tensor<24x16xf32>
  model.weight @up : tensor<24x16xbf16>
  %h = model.embed %token, @table : tensor<16xf32>
  %g = model.linear %h, @gate : tensor<16xf32> -> tensor<24xf32>
  %u = model.linear %h, @up : tensor<16xf32> -> tensor<24xf32>
  %m = model.glu silu %g, %u : tensor<24xf32>, tensor<24xf32> -> tensor<24xf32>
  model.return %token
}

// CHECK-NOT: model.gate_up
// CHECK:     %m = model.glu silu %g, %u
