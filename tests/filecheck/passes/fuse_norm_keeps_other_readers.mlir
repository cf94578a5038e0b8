// RUN: amk-opt %s -p fuse-norm | filecheck %s
// A reader that is no matrix needs the normalized value itself, so nobody else recomputes it.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  model.weight @a : tensor<16x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %n = model.rms_norm %h, @g eps 1.0e-05 : tensor<16xf32> -> tensor<16xf32>
  %x = model.linear %n, @a : tensor<16xf32> -> tensor<16xf32>
  %s = model.add %n, %x : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK:      %n = model.rms_norm %h, @g
// CHECK-NEXT: %x = model.linear %n, @a : 
