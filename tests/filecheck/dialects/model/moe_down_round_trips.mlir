// RUN: amk-opt %s | amk-opt | filecheck %s
// model.moe_down: one vector of the parts of all choices, with or without a residual.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @router : tensor<4x16xf32>
  model.weight @gu : tensor<96x16xf32>
  model.weight @down : tensor<64x12xf32>
  model.weight @g : tensor<16xf32>
  model.weight @b : tensor<64xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %r = model.linear %h, @router : tensor<16xf32> -> tensor<4xf32>
  %ids, %p = model.topk %r choices 2 : tensor<4xf32> -> tensor<2xi32>, tensor<2xf32>
  %m = model.moe_gate_up %h, %ids, @gu experts 4 : tensor<16xf32>, tensor<2xi32> -> tensor<24xf32>
  %y = model.moe_down %m, %ids, %p, @down experts 4 : tensor<24xf32>, tensor<2xi32>, tensor<2xf32> -> tensor<16xf32>
  %z = model.moe_down %m, %ids, %p, @down experts 4 residual %h : tensor<16xf32> : tensor<24xf32>, tensor<2xi32>, tensor<2xf32> -> tensor<16xf32>
  %w = model.moe_down %m, %ids, %p, @down experts 4 bias @b residual %h : tensor<16xf32> : tensor<24xf32>, tensor<2xi32>, tensor<2xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: %y = model.moe_down %m, %ids, %p, @down experts 4 : tensor<24xf32>
// CHECK: %z = model.moe_down %m, %ids, %p, @down experts 4 residual %h : tensor<16xf32> : tensor<24xf32>
// CHECK: %w = model.moe_down %m, %ids, %p, @down experts 4 bias @b residual %h : tensor<16xf32>
