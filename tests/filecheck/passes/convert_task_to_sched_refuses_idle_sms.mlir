// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'lower{num-sms=0}' 2>&1 | filecheck %s --check-prefix=NONE
// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},convert-task-to-sched{num-sms=7}' 2>&1 | filecheck %s --check-prefix=MANY
// RUN: not amk-opt %S/../Inputs/tiny.mlir -p convert-task-to-sched 2>&1 | filecheck %s --check-prefix=LEVEL
// There is at least one SM, and none without work: the largest family here has 6 tiles.

// NONE:  error: num-sms must be positive, got 0
// MANY:  error: num-sms 7 exceeds the 6 tiles of the largest family
// LEVEL: error: the module has no task.program
