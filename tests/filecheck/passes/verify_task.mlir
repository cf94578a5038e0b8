// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task,verify-task' | filecheck %s
// verify-task passes what the pipeline makes, and changes nothing.

// CHECK: task.program @decode
