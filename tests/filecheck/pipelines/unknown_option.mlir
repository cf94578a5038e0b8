// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'lower{sms=3}' 2>&1 | filecheck %s
// So is an option that no pass of a pipeline has.

// CHECK: error: pipeline 'lower' has no option 'sms'
