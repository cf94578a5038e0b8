// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W2) Elementwise operands have one size.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  model.weight @w : tensor<8x16xf32>
  %y = model.linear %h, @w : tensor<16xf32> -> tensor<8xf32>
  %s = model.add %h, %y : tensor<16xf32>, tensor<8xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.add %s operand must be a tensor of 16 elements, got tensor<8xf32> (W2)
