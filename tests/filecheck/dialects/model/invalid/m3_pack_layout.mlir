// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M3) The rows of a source are kept or put in rotary order.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @w : tensor<4x4xf32>
  model.pack @p = concat(columns @w) : tensor<4x4xf32>
  model.return %token
}

// CHECK: error: pack @p layout is one of rows, rope, plus_one, flat, got 'columns' (M3)
