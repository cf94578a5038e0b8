// RUN: amk-opt %s | amk-opt | filecheck %s
// model.topk: indices and weights of the largest, which add up to 1 or not.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @router : tensor<4x16xf32>
  model.weight @gu : tensor<96x16xf32>
  model.weight @down : tensor<64x12xf32>
  model.weight @g : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %r = model.linear %h, @router : tensor<16xf32> -> tensor<4xf32>
  %ids, %p = model.topk %r choices 2 : tensor<4xf32> -> tensor<2xi32>, tensor<2xf32>
  %ids3, %p3 = model.topk %r choices 3 normalize : tensor<4xf32> -> tensor<3xi32>, tensor<3xf32>
  model.return %token
}

// CHECK: %ids, %p = model.topk %r choices 2 : tensor<4xf32> -> tensor<2xi32>, tensor<2xf32>
// CHECK: %ids3, %p3 = model.topk %r choices 3 normalize : tensor<4xf32> -> tensor<3xi32>, tensor<3xf32>
