// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M5) A cache holds f32 or bf16.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.cache @kv rows 8 heads 1 head_dim 2 : i8
  model.return %token
}

// CHECK: error: cache @kv has element type i8, not f32 or bf16 (M5)
