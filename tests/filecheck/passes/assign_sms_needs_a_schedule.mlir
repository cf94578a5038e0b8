// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},assign-sms' 2>&1 | filecheck %s --check-prefix=LEVEL
// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'assign-sms{num-sms=2}' 2>&1 | filecheck %s --check-prefix=OPTION
// The number of SMs is that of the schedule's queues, and no option.

// LEVEL:  error: the module has no sched.program
// OPTION: error: pass 'assign-sms' has no option 'num-sms' (options: none)
