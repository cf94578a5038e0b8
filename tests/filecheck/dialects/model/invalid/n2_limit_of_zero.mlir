// RUN: not amk-opt %s 2>&1 | filecheck %s
// (N2) The bound of experts is positive.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @router : tensor<4x16xf32>
  model.weight @gu : tensor<96x16xf32>
  model.weight @down : tensor<64x12xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %r = model.linear %h, @router : tensor<16xf32> -> tensor<4xf32>
  %ids, %p = model.topk %r choices 2 : tensor<4xf32> -> tensor<2xi32>, tensor<2xf32>
  %m = model.moe_gate_up %h, %ids, @gu experts 4 alpha 1.5 limit 0.0 : tensor<16xf32>, tensor<2xi32> -> tensor<24xf32>
  model.return %token
}

// CHECK: error: model.moe_gate_up %m limit must be positive and finite, got 0.0 (N2)
