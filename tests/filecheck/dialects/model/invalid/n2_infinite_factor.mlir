// RUN: not amk-opt %s 2>&1 | filecheck %s
// (N2) A factor is finite.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %n = model.scale %h by 1.0e999 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.scale %n factor must be finite, got inf (N2)
