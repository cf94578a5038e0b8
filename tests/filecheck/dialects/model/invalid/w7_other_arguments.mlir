// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W7) A step starts from a token and a position.

model.program @decode(%token: tensor<1xi32>) {
  model.return %token
}

// CHECK: error: a program takes tensor<1xi32> and index, got tensor<1xi32> (W7)
