// RUN: amk-opt %S/../Inputs/tiny.mlir -p fuse,verify-model | filecheck %s
// RUN: not amk-opt %s --disable-verify -p verify-model 2>&1 | filecheck %s --check-prefix=BAD
// A valid program passes unchanged; one that refers to an undeclared weight does not.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @tabel : tensor<16xf32>
  model.return %token
}

// CHECK: model.lm_head
// BAD:   error: model.embed %h refers to @tabel, which is no declared weight or pack (W1)
