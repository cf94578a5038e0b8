// RUN: amk-opt %s | amk-opt | filecheck %s
// model.rms_norm: its eps keeps every digit.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %n = model.rms_norm %h, @g eps 9.9999997473787516e-06 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: %n = model.rms_norm %h, @g eps 9.9999997473787516e-06 : tensor<16xf32> -> tensor<16xf32>
