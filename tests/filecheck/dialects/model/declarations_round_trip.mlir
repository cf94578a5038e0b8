// RUN: amk-opt %s | amk-opt | filecheck %s
// Every declaration prints as it is written, and reads back as the same.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @w : tensor<32x16xbf16>
  model.weight @model.layers.0.norm.weight : tensor<16xf32>
  model.pack @stacked = concat(rope @w, rows @w) head_dim 8 : tensor<64x16xbf16>
  model.pack @woven = interleave(rows @w, rows @w) : tensor<64x16xbf16>
  model.rope_table @rope scale 1.0 [1.0, 0.1, 0.01, 1.0e-08]
  model.cache @kv rows 64 heads 2 head_dim 8 : bf16
  model.return %token
}

// CHECK: model.weight @w : tensor<32x16xbf16>
// CHECK: model.weight @model.layers.0.norm.weight : tensor<16xf32>
// CHECK: model.pack @stacked = concat(rope @w, rows @w) head_dim 8 : tensor<64x16xbf16>
// CHECK: model.pack @woven = interleave(rows @w, rows @w) : tensor<64x16xbf16>
// CHECK: model.rope_table @rope scale 1.0 {{\[}}1.0, 0.1, 0.01, 1.0e-08]
// CHECK: model.cache @kv rows 64 heads 2 head_dim 8 : bf16
