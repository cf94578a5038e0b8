// RUN: amk-opt %s | amk-opt | filecheck %s
// model.rope of a part of each head, in halves or in neighbors.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  model.weight @head : tensor<4xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  model.rope_table @rope scale 1.0 [1.0]
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.rope %h, @rope at %pos head_dim 8 rotary 2 : tensor<16xf32> -> tensor<16xf32>
  %b = model.rope %a, @rope at %pos head_dim 2 interleaved : tensor<16xf32> -> tensor<16xf32>
  %c = model.rope %b, @rope at %pos head_dim 4 rotary 2 interleaved : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: %a = model.rope %h, @rope at %pos head_dim 8 rotary 2 : tensor<16xf32> -> tensor<16xf32>
// CHECK: %b = model.rope %a, @rope at %pos head_dim 2 interleaved : tensor<16xf32> -> tensor<16xf32>
// CHECK: %c = model.rope %b, @rope at %pos head_dim 4 rotary 2 interleaved : tensor<16xf32> -> tensor<16xf32>
