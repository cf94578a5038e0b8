// RUN: amk-opt %s -p fuse-activation,verify-model | filecheck %s
// The activation goes with the matrix; one that somebody else reads without it stays.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @up : tensor<24x16xf32>
  model.weight @b : tensor<24xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %u = model.linear %h, @up bias @b scale 0.5 : tensor<16xf32> -> tensor<24xf32>
  %y = model.activation relu2 %u : tensor<24xf32> -> tensor<24xf32>
  %w = model.linear %h, @up : tensor<16xf32> -> tensor<24xf32>
  %z = model.activation gelu %w : tensor<24xf32> -> tensor<24xf32>
  %s = model.add %w, %z : tensor<24xf32>, tensor<24xf32> -> tensor<24xf32>
  %t = model.add %s, %y : tensor<24xf32>, tensor<24xf32> -> tensor<24xf32>
  %next = model.argmax %t : tensor<24xf32>
  model.return %next
}

// CHECK:     %y = model.linear %h, @up bias @b scale 5.000000e-01 kind relu2 : tensor<16xf32> -> tensor<24xf32>
// CHECK:     %z = model.activation gelu %w
