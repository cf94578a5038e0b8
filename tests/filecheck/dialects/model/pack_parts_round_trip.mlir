// RUN: amk-opt %s | amk-opt | filecheck %s
// A pack takes rows of a source, adds one, or makes a vector of a matrix.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  model.weight @head : tensor<4xf32>
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  model.rope_table @rope scale 1.0 [1.0]
  %h = model.embed %token, @table : tensor<16xf32>
  model.pack @some = concat(rows @table[0 to 8], rope @table[8 to 12 of 16]) head_dim 4 : tensor<16x16xf32>
  model.pack @woven = interleave(rows @table[0 to 16], rows @table[16 to 32]) : tensor<32x16xf32>
  model.pack @gain = concat(plus_one @g) : tensor<16xf32>
  model.pack @line = concat(flat @table[0 to 2]) : tensor<32xf32>
  model.return %token
}

// CHECK: model.pack @some = concat(rows @table[0 to 8], rope @table[8 to 12 of 16]) head_dim 4 : tensor<16x16xf32>
// CHECK: model.pack @woven = interleave(rows @table[0 to 16], rows @table[16 to 32]) : tensor<32x16xf32>
// CHECK: model.pack @gain = concat(plus_one @g) : tensor<16xf32>
// CHECK: model.pack @line = concat(flat @table[0 to 2]) : tensor<32xf32>
