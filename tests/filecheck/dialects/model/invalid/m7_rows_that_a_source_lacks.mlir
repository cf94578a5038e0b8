// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M7) A pack takes rows that its source has.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.pack @p = concat(rows @table[16 to 33]) : tensor<17x16xf32>
  model.return %token
}

// CHECK: error: pack @p takes rows [16 to 33] of @table of 32 rows (M7)
