// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W3) A rope table has head_dim / 2 frequencies.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.rope_table @rope scale 1.0 [1.0, 0.5]
  %h = model.embed %token, @table : tensor<16xf32>
  %q = model.rope %h, @rope at %pos head_dim 8 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.rope %q needs 4 frequencies for head_dim 8, @rope has 2 (W3)
