// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W8) Interleaved sources have one height.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @a : tensor<4x4xf32>
  model.weight @b : tensor<2x4xf32>
  model.pack @p = interleave(rows @a, rows @b) : tensor<6x4xf32>
  model.return %token
}

// CHECK: error: pack @p interleaves sources of different heights (W8)
