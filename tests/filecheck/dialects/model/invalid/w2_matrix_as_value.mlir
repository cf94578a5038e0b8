// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W2) Values are vectors: a step handles one token.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<1x16xf32>
  model.return %token
}

// CHECK: error: a value has type tensor<1x16xf32>, not a one-dimensional tensor (W2)
