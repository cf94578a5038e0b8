// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W8) The sources of a pack have its columns and element type.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @a : tensor<4x4xf32>
  model.weight @b : tensor<4x4xbf16>
  model.pack @p = concat(rows @a, rows @b) : tensor<8x4xf32>
  model.return %token
}

// CHECK: error: pack @p and its source @b differ in columns or type (W8)
