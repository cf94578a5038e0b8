// RUN: not amk-opt %s 2>&1 | filecheck %s
// (X2) There are as many experts to choose as are wanted.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @router : tensor<4x16xf32>
  model.weight @gu : tensor<96x16xf32>
  model.weight @down : tensor<64x12xf32>
  model.weight @g : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %r = model.linear %h, @router : tensor<16xf32> -> tensor<4xf32>
  %ids, %p = model.topk %r choices 5 : tensor<4xf32> -> tensor<5xi32>, tensor<5xf32>
  model.return %token
}

// CHECK: error: model.topk %ids cannot choose 5 of 4 (X2)
