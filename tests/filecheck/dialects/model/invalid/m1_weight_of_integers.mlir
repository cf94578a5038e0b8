// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M1) A weight holds f32 or bf16.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @w : tensor<4x4xi8>
  model.return %token
}

// CHECK: error: weight @w has element type i8, not f32 or bf16 (M1)
