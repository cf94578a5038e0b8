// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower{num-sms=2 splits=2 chunk=16 ring-kb=16 window-kb=8 period=0}' | filecheck %s
// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'lower{sms=2}' 2>&1 | filecheck %s --check-prefix=UNKNOWN
// RUN: not amk-opt %S/../Inputs/tiny.mlir -p 'lowre{num-sms=2}' 2>&1 | filecheck %s --check-prefix=NAME
// RUN: not amk-opt %S/../Inputs/tiny.mlir -p lower 2>&1 | filecheck %s --check-prefix=MANY
// An option of a pipeline goes to every pass that has it, and is refused when none has.

// CHECK: sched.ring slots 16 columns 32
// CHECK: vm.run @l0.attention[3 to 4]
// UNKNOWN: error: pipeline 'lower' has no option 'sms'
// NAME: error: unknown pass or pipeline 'lowre', did you mean 'lower'
// MANY: error: num-sms 132 exceeds the 6 tiles of the largest family
