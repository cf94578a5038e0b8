// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W1) The weight of a norm in groups has an element for each of x, or of a group.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  model.weight @g : tensor<8xf32>
  %n = model.layer_norm %h, @g eps 1.0e-05 groups 4 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.layer_norm %n needs @g of shape 16, declared as 8 (W1)
