// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,insert-sync{sync=barriers}' 2>&1 | filecheck %s
// There are two ways to synchronize.

// CHECK: error: {{.*}}insert-sync{{.*}}
