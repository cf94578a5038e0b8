// RUN: amk-opt %s | amk-opt | filecheck %s
// model.linear: bias, norm and residual are optional, in this order.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @w : tensor<16x16xf32>
  model.weight @b : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %plain = model.linear %h, @w : tensor<16xf32> -> tensor<16xf32>
  %full = model.linear %h, @w bias @b norm @b eps 1.0e-05 residual %h : tensor<16xf32> : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: %plain = model.linear %h, @w : tensor<16xf32> -> tensor<16xf32>
// CHECK: %full = model.linear %h, @w bias @b norm @b eps 1.000000e-05 residual %h : tensor<16xf32> : tensor<16xf32> -> tensor<16xf32>
