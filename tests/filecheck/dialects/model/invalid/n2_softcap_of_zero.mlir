// RUN: not amk-opt %s 2>&1 | filecheck %s
// (N2) A cap is positive.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %n = model.softcap %h cap 0.0 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.softcap %n cap must be positive and finite, got 0.0 (N2)
