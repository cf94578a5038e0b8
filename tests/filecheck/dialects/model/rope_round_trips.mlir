// RUN: amk-opt %s | amk-opt | filecheck %s
// model.rope: a table, the position, and the size of a head.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.rope_table @rope scale 1.0 [1.0, 0.5]
  %h = model.embed %token, @table : tensor<16xf32>
  %q = model.rope %h, @rope at %pos head_dim 4 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: %q = model.rope %h, @rope at %pos head_dim 4 : tensor<16xf32> -> tensor<16xf32>
