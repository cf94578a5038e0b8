// RUN: amk-opt %s -p fuse-lm-head | filecheck %s
// The argmax of a matrix is found with the product.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %l = model.linear %h, @table : tensor<16xf32> -> tensor<32xf32>
  %next = model.argmax %l : tensor<32xf32>
  model.return %next
}

// CHECK:      %next = model.lm_head %h, @table : tensor<16xf32>
// CHECK-NEXT: model.return %next
