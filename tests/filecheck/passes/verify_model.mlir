// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,verify-model' | filecheck %s
// verify-model passes what the pipeline makes, and changes nothing.

// CHECK: model.program @decode
