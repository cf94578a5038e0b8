// RUN: not amk-opt %S/../Inputs/tiny.mlir -p convert-model-to-task,convert-model-to-task 2>&1 | filecheck %s
// What is lowered already cannot be lowered again.

// CHECK: error: the module has no model.program
// CHECK-NOT: {{.}}
