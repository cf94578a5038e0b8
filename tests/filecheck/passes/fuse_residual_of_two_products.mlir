// RUN: amk-opt %s -p fuse-residual | filecheck %s
// Of two products one takes in the sum; the other is its residual.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @a : tensor<16x16xf32>
  model.weight @b : tensor<16x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %x = model.linear %h, @a : tensor<16xf32> -> tensor<16xf32>
  %y = model.linear %h, @b : tensor<16xf32> -> tensor<16xf32>
  %s = model.add %x, %y : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK:      %y = model.linear %h, @b : 
// CHECK-NEXT: %s = model.linear %h, @a residual %y
