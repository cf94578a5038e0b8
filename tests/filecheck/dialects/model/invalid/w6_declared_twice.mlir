// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W6) A symbol is declared once.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @w : tensor<4x4xf32>
  model.cache @w rows 8 heads 1 head_dim 2 : bf16
  model.return %token
}

// CHECK: error: symbol @w is declared twice (W6)
