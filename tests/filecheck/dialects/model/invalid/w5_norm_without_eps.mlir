// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W5) A fused norm has an eps; only the generic form can leave it out.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @w : tensor<16x16xf32>
  model.weight @g : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %y = "model.linear"(%h) <{weight = @w, norm = @g}> : (tensor<16xf32>) -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.linear %y needs norm and eps together (W5)
