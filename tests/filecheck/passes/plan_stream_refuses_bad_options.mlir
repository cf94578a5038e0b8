// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},convert-task-to-sched{num-sms=2},plan-stream{ring-kb=7}' 2>&1 | filecheck %s --check-prefix=SMALL
// RUN: not amk-opt %s -p 'plan-stream{window-kb=0}' 2>&1 | filecheck %s --check-prefix=WINDOW
// RUN: not amk-opt %s -p 'plan-stream{consumers=-8}' 2>&1 | filecheck %s --check-prefix=WARPS
// RUN: not amk-opt %s -p plan-stream 2>&1 | filecheck %s --check-prefix=LEVEL
// A ring holds a lap, and its sizes are sizes.

builtin.module {
}

// SMALL:  error: ring-kb 7 holds no lap of 8 slots of 1024 bytes, choose at least 8
// WINDOW: error: window-kb must be positive, got 0
// WARPS:  error: consumers must be positive, got -8
// LEVEL:  error: the module has no sched.program
