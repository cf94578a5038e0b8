// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M6) A rope table has a frequency.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.rope_table @rope scale 1.0 []
  model.return %token
}

// CHECK: error: rope table @rope is empty (M6)
