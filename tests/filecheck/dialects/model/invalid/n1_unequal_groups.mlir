// RUN: not amk-opt %s 2>&1 | filecheck %s
// (N1) Groups divide what is normalized.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  model.weight @g : tensor<16xf32>
  %n = model.rms_norm %h, @g eps 1.0e-05 groups 3 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.rms_norm %n has 16 elements, which are no 3 equal groups (N1)
