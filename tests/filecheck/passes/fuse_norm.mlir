// RUN: amk-opt %s -p fuse-norm | filecheck %s
// Every matrix that reads a normalized value normalizes for itself, and the norm is gone.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  model.weight @a : tensor<16x16xf32>
  model.weight @b : tensor<24x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %n = model.rms_norm %h, @g eps 1.0e-05 : tensor<16xf32> -> tensor<16xf32>
  %x = model.linear %n, @a : tensor<16xf32> -> tensor<16xf32>
  %y = model.linear %n, @b : tensor<16xf32> -> tensor<24xf32>
  model.return %token
}

// CHECK-NOT: model.rms_norm
// CHECK:      %x = model.linear %h, @a norm @g eps 1.000000e-05 : tensor<16xf32> -> tensor<16xf32>
// CHECK-NEXT: %y = model.linear %h, @b norm @g eps 1.000000e-05 : tensor<16xf32> -> tensor<24xf32>
