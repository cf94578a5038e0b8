// RUN: amk-opt %s | amk-opt | filecheck %s
// Factors and caps: model.scale, model.softcap, and those of embed and linear.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  model.weight @head : tensor<4xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  model.rope_table @rope scale 1.0 [1.0]
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.embed %token, @table multiplier 4.000000e+00 : tensor<16xf32>
  %b = model.scale %a by 2.500000e-01 : tensor<16xf32> -> tensor<16xf32>
  %c = model.softcap %b cap 3.000000e+01 : tensor<16xf32> -> tensor<16xf32>
  %d = model.linear %c, @table scale 5.000000e-01 : tensor<16xf32> -> tensor<32xf32>
  %e = model.linear %c, @table norm @g eps 1.000000e-05 scale 5.000000e-01 residual %d : tensor<32xf32> : tensor<16xf32> -> tensor<32xf32>
  model.return %token
}

// CHECK: %a = model.embed %token, @table multiplier 4.000000e+00 : tensor<16xf32>
// CHECK: %b = model.scale %a by 2.500000e-01 : tensor<16xf32> -> tensor<16xf32>
// CHECK: %c = model.softcap %b cap 3.000000e+01 : tensor<16xf32> -> tensor<16xf32>
// CHECK: %d = model.linear %c, @table scale 5.000000e-01 : tensor<16xf32> -> tensor<32xf32>
// CHECK: %e = model.linear %c, @table norm @g eps 1.000000e-05 scale 5.000000e-01 residual %d : tensor<32xf32> : tensor<16xf32> -> tensor<32xf32>
