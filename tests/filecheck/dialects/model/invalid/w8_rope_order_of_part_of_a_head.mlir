// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W8) Rotary order is defined on whole heads.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @a : tensor<6x4xf32>
  model.pack @p = concat(rope @a) head_dim 4 : tensor<6x4xf32>
  model.return %token
}

// CHECK: error: pack @p: @a has 6 rows, no multiple of 4 (W8)
