// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,choose-tiles{rows=12}' 2>&1 | filecheck %s
// Tiles are whole ring slots of 8 rows.

// CHECK: error: {{.*}}rows must be a multiple of 8, got 12
