// RUN: not amk-opt %S/../Inputs/tiny.mlir -p order-queues 2>&1 | filecheck %s --check-prefix=LEVEL
// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'order-queues{by=depth}' 2>&1 | filecheck %s --check-prefix=OPTION
// The order follows from the dependences and takes no option.

// LEVEL:  error: the module has no sched.program
// OPTION: error: pass 'order-queues' has no option 'by' (options: none)
