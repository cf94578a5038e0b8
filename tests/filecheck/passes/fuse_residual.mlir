// RUN: amk-opt %s -p fuse-residual | filecheck %s
// A sum with the product of a matrix, on either side, moves into the matrix.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @a : tensor<16x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %x = model.linear %h, @a : tensor<16xf32> -> tensor<16xf32>
  %s = model.add %x, %h : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  %y = model.linear %s, @a : tensor<16xf32> -> tensor<16xf32>
  %r = model.add %s, %y : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK-NOT: model.add
// CHECK:      %s = model.linear %h, @a residual %h : tensor<16xf32> : tensor<16xf32> -> tensor<16xf32>
// CHECK-NEXT: %r = model.linear %s, @a residual %s
