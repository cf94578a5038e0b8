// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M1) The extents of a weight are known.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @w : tensor<?x4xf32>
  model.return %token
}

// CHECK: error: weight @w is no matrix or vector: tensor<?x4xf32> (M1)
