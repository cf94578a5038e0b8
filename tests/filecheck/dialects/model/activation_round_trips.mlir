// RUN: amk-opt %s | amk-opt | filecheck %s
// model.glu and model.activation: every kind by its name.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  model.weight @head : tensor<4xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  model.rope_table @rope scale 1.0 [1.0]
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.glu gelu %h, %h : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  %b = model.glu gelu_tanh %a, %h : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  %c = model.activation quick_gelu %b : tensor<16xf32> -> tensor<16xf32>
  %d = model.activation relu %c : tensor<16xf32> -> tensor<16xf32>
  %e = model.activation relu2 %d : tensor<16xf32> -> tensor<16xbf16>
  model.return %token
}

// CHECK: %a = model.glu gelu %h, %h : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
// CHECK: %b = model.glu gelu_tanh %a, %h : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
// CHECK: %c = model.activation quick_gelu %b : tensor<16xf32> -> tensor<16xf32>
// CHECK: %d = model.activation relu %c : tensor<16xf32> -> tensor<16xf32>
// CHECK: %e = model.activation relu2 %d : tensor<16xf32> -> tensor<16xbf16>
