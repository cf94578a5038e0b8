// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M2) A pack has a source.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.pack @p = concat() : tensor<4x4xf32>
  model.return %token
}

// CHECK: error: pack @p has 0 sources, 0 layouts (M2)
