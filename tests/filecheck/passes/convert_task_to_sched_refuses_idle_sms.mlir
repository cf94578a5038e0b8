// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=9},convert-task-to-sched{num-sms=9}' 2>&1 | filecheck %s
// More SMs than the largest family has tiles would leave some without work.

// CHECK: error: {{.*}}num-sms 9 exceeds the 6 tiles of the largest family
