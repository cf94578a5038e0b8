// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task,convert-task-to-sched{num-sms=0}' 2>&1 | filecheck %s
// Somebody must run the program.

// CHECK: error: {{.*}}num-sms must be positive, got 0
