// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M7) A range is not empty.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.pack @p = concat(rows @table[4 to 4]) : tensor<1x16xf32>
  model.return %token
}

// CHECK: error: {{.*}}pack @p takes no rows [4 to 4] (M7)
