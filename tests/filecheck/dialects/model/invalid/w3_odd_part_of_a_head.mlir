// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W3) The part of a head that rotates is whole pairs.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  model.rope_table @rope scale 1.0 [1.0]
  %n = model.rope %h, @rope at %pos head_dim 8 rotary 3 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK: error: model.rope %n {{.*}} (W3)
