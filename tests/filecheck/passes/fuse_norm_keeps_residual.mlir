// RUN: amk-opt %s -p fuse-norm | filecheck %s
// A residual is added as it is: a normalized one is not normalized by its reader.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  model.weight @a : tensor<16x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %n = model.rms_norm %h, @g eps 1.0e-05 : tensor<16xf32> -> tensor<16xf32>
  %x = model.linear %h, @a residual %n : tensor<16xf32> : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK:      %n = model.rms_norm %h, @g
// CHECK-NEXT: %x = model.linear %h, @a residual %n
