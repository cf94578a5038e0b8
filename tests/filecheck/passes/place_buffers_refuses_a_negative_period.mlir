// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},convert-task-to-sched{num-sms=2},place-buffers{period=-1}' 2>&1 | filecheck %s
// A period counts buffers.

// CHECK: error: {{.*}}period must not be negative, got -1
