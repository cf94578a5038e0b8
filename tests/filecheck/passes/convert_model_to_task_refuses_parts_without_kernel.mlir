// RUN: not amk-opt %s -p convert-model-to-task 2>&1 | filecheck %s
// What no kernel computes is refused, and never left out.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.attention %h append %h, %h : tensor<16xf32>, tensor<16xf32>, @kv at %pos heads 4 kv_heads 4 head_dim 4 scale 0.5 window 8 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: {{.*}}model.attention with 'window' has no lowering to the task dialect
