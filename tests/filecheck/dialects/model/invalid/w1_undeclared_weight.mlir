// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W1) Every symbol is declared.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  %h = model.embed %token, @table : tensor<16xf32>
  model.return %token
}

// CHECK: error: model.embed %h refers to @table, which is no declared weight or pack (W1)
