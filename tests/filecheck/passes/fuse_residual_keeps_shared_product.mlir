// RUN: amk-opt %s -p fuse-residual | filecheck %s
// A product that is used elsewhere is needed without the sum.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @a : tensor<16x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %x = model.linear %h, @a : tensor<16xf32> -> tensor<16xf32>
  %s = model.add %x, %h : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  %r = model.add %s, %x : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK:      %x = model.linear %h, @a : 
// CHECK-NEXT: %s = model.add %x, %h
// CHECK-NEXT: %r = model.add %s, %x
