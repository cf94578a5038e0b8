// RUN: amk-opt %s | amk-opt | filecheck %s
// model.gate_up: half as many results as its matrix has rows.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @gu : tensor<32x16xf32>
  model.weight @b : tensor<32xf32>
  model.weight @g : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %m = model.gate_up %h, @gu : tensor<16xf32> -> tensor<16xf32>
  %o = model.gate_up %h, @gu bias @b norm @g eps 1.0e-05 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: %m = model.gate_up %h, @gu : tensor<16xf32> -> tensor<16xf32>
// CHECK: %o = model.gate_up %h, @gu bias @b norm @g eps 1.000000e-05 : tensor<16xf32> -> tensor<16xf32>
