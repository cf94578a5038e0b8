// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M3) Rotary order is defined for heads of even size.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @w : tensor<6x4xf32>
  model.pack @p = concat(rope @w) head_dim 3 : tensor<6x4xf32>
  model.return %token
}

// CHECK: error: pack @p needs an even positive head_dim, got 3 (M3)
