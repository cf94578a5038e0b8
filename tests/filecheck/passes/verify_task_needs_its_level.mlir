// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,verify-task' 2>&1 | filecheck %s
// A proof of nothing is a mistake in the pipeline.

// CHECK: error: the module has no task.program
