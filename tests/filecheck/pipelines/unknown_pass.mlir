// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,fuse-ropes' 2>&1 | filecheck %s
// A name that is no pass and no pipeline is refused, with the nearest one that is.

// CHECK: error: unknown pass or pipeline 'fuse-ropes', did you mean 'fuse-{{.*}}'
