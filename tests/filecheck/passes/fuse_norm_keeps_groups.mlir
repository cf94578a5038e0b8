// RUN: amk-opt %s -p fuse-norm | filecheck %s
// A norm of each head has no place in a matrix, which normalizes all of its input.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<4xf32>
  model.weight @a : tensor<16x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %n = model.rms_norm %h, @g eps 1.0e-05 groups 4 : tensor<16xf32> -> tensor<16xf32>
  %x = model.linear %n, @a : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK:      %n = model.rms_norm %h, @g eps {{.*}} groups 4
// CHECK-NEXT: %x = model.linear %n, @a :
