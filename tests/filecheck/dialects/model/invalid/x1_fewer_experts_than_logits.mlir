// RUN: not amk-opt %s 2>&1 | filecheck %s
// (X1) An id that was chosen among four may name no expert of two.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @router : tensor<4x16xf32>
  model.weight @gu : tensor<96x16xf32>
  model.weight @down : tensor<64x12xf32>
  model.weight @two : tensor<32x8xf32>
  model.weight @g : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %r = model.linear %h, @router : tensor<16xf32> -> tensor<4xf32>
  %ids, %p = model.topk %r choices 2 : tensor<4xf32> -> tensor<2xi32>, tensor<2xf32>
  %y = model.moe_down %h, %ids, %p, @two experts 2 : tensor<16xf32>, tensor<2xi32>, tensor<2xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.moe_down %y has 2 experts and takes ids chosen among 4 (X1)
