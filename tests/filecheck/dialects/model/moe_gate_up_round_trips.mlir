// RUN: amk-opt %s | amk-opt | filecheck %s
// model.moe_gate_up: results of two choices, 12 each, from a matrix of 24 rows an expert.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @router : tensor<4x16xf32>
  model.weight @gu : tensor<96x16xf32>
  model.weight @down : tensor<64x12xf32>
  model.weight @g : tensor<16xf32>
  model.weight @gub : tensor<96xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %r = model.linear %h, @router : tensor<16xf32> -> tensor<4xf32>
  %ids, %p = model.topk %r choices 2 : tensor<4xf32> -> tensor<2xi32>, tensor<2xf32>
  %m = model.moe_gate_up %h, %ids, @gu experts 4 : tensor<16xf32>, tensor<2xi32> -> tensor<24xf32>
  %n = model.moe_gate_up %h, %ids, @gu experts 4 norm @g eps 1.0e-05 : tensor<16xf32>, tensor<2xi32> -> tensor<24xf32>
  %o = model.moe_gate_up %h, %ids, @gu experts 4 bias @gub alpha 1.702 limit 7.0 norm @g eps 1.0e-05 : tensor<16xf32>, tensor<2xi32> -> tensor<24xf32>
  model.return %token
}

// CHECK: %m = model.moe_gate_up %h, %ids, @gu experts 4 : tensor<16xf32>, tensor<2xi32> -> tensor<24xf32>
// CHECK: %n = model.moe_gate_up %h, %ids, @gu experts 4 norm @g eps 1.000000e-05 : tensor<16xf32>
// CHECK: %o = model.moe_gate_up %h, %ids, @gu experts 4 bias @gub alpha 1.702000e+00 limit 7.000000e+00 norm @g
