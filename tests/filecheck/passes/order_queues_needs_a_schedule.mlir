// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task,order-queues' 2>&1 | filecheck %s
// Without queues there is nothing to order.

// CHECK: error: the module has no sched.program
