// RUN: not amk-translate -t cuda %S/../Inputs/tiny.mlir 2>&1 | filecheck %s
// Only a vm program has a kernel.

// CHECK: error: 
