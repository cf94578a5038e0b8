// RUN: not amk-opt %s 2>&1 | filecheck %s
// (X1) Expert ids come of a choice among experts.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @router : tensor<4x16xf32>
  model.weight @gu : tensor<96x16xf32>
  model.weight @down : tensor<64x12xf32>
  model.weight @g : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %r = model.linear %h, @router : tensor<16xf32> -> tensor<4xf32>
  %m = model.moe_gate_up %h, %token, @gu experts 4 : tensor<16xf32>, tensor<1xi32> -> tensor<12xf32>
  model.return %token
}

// CHECK: error: model.moe_gate_up %m takes ids that no model.topk has chosen (X1)
