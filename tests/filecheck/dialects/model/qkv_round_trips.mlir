// RUN: amk-opt %s | amk-opt | filecheck %s
// model.qkv: three results; bias and norm are optional.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.rope_table @rope scale 1.0 [1.0, 0.5]
  model.weight @qkv : tensor<32x16xf32>
  model.weight @b : tensor<32xf32>
  model.weight @g : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %q, %k, %v = model.qkv %h, @qkv rope @rope at %pos heads 4 kv_heads 2 head_dim 4 : tensor<16xf32> -> tensor<16xf32>, tensor<8xf32>, tensor<8xf32>
  %r, %l, %w = model.qkv %h, @qkv bias @b norm @g eps 1.0e-05 rope @rope at %pos heads 4 kv_heads 2 head_dim 4 : tensor<16xf32> -> tensor<16xf32>, tensor<8xf32>, tensor<8xf32>
  model.return %token
}

// CHECK: %q, %k, %v = model.qkv %h, @qkv rope @rope at %pos heads 4 kv_heads 2 head_dim 4 : tensor<16xf32> -> tensor<16xf32>, tensor<8xf32>, tensor<8xf32>
// CHECK: %r, %l, %w = model.qkv %h, @qkv bias @b norm @g eps 1.000000e-05 rope @rope at %pos heads 4
