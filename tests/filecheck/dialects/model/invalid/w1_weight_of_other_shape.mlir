// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W1) A weight has the shape that its operator needs.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @w : tensor<8x8xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %y = model.linear %h, @w : tensor<16xf32> -> tensor<8xf32>
  model.return %token
}

// CHECK: error: model.linear %y needs @w of shape 8x16, declared as 8x8 (W1)
