// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'convert-model-to-task,insert-sync{sync=barriers}' 2>&1 | filecheck %s --check-prefix=MODE
// RUN: not amk-opt %S/../Inputs/tiny.mlir -p insert-sync 2>&1 | filecheck %s --check-prefix=LEVEL
// There are two ways to synchronize, and they are for task programs.

// MODE:  error: option 'sync' of pass 'insert-sync' is {{.*}}, got 'barriers'
// LEVEL: error: the module has no task.program
