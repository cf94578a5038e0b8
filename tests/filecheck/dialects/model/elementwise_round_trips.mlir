// RUN: amk-opt %s | amk-opt | filecheck %s
// model.add and model.glu silu: two operands of one size.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %s = model.add %h, %h : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  %m = model.glu silu %s, %h : tensor<16xf32>, tensor<16xf32> -> tensor<16xbf16>
  model.return %token
}

// CHECK: %s = model.add %h, %h : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
// CHECK: %m = model.glu silu %s, %h : tensor<16xf32>, tensor<16xf32> -> tensor<16xbf16>
