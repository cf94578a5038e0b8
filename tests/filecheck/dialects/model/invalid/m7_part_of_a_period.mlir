// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M7) A source is whole periods.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.pack @p = concat(rows @table[0 to 2 of 5]) : tensor<12x16xf32>
  model.return %token
}

// CHECK: error: pack @p takes rows [0 to 2 of 5] of @table of 32 rows (M7)
