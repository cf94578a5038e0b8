// RUN: amk-opt %s | amk-opt | filecheck %s
// model.embed: a token, a table, and the type of its row.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xbf16>
  %h = model.embed %token, @table : tensor<16xf32>
  model.return %token
}

// CHECK: %h = model.embed %token, @table : tensor<16xf32>
