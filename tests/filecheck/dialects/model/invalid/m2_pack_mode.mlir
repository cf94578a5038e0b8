// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M2) A pack stacks or interleaves its sources.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @w : tensor<4x4xf32>
  model.pack @p = braid(rows @w) : tensor<4x4xf32>
  model.return %token
}

// CHECK: error: pack @p mode is concat or interleave, got 'braid' (M2)
