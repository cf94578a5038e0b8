// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W8) Only sums may be wider than their source.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xbf16>
  model.pack @wide = concat(rows @g) : tensor<16xf32>
  model.return %token
}

// CHECK: error: pack @wide and its source @g differ in columns or type (W8)
