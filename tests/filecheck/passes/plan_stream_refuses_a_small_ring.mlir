// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},convert-task-to-sched{num-sms=2},plan-stream{ring-kb=1}' 2>&1 | filecheck %s
// A ring holds a lap of its consumers, or none of them gets anywhere.

// CHECK: error: {{.*}}ring-kb 1 holds no lap of 8 slots of 1024 bytes
