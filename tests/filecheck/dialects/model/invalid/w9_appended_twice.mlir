// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W9) A cache gets one row a step.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  model.kv_append %h, %h, @kv at %pos : tensor<16xf32>, tensor<16xf32>
  model.kv_append %h, %h, @kv at %pos : tensor<16xf32>, tensor<16xf32>
  model.return %token
}

// CHECK: error: model.kv_append appends to @kv a second time in one step (W9)
