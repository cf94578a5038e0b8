// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W8) A pack has the rows of its sources, no more and no less.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @a : tensor<4x4xf32>
  model.pack @p = concat(rows @a) : tensor<8x4xf32>
  model.return %token
}

// CHECK: error: pack @p has 8 rows, its sources 4 (W8)
