// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower{num-sms=3}' -o %t.once
// RUN: amk-opt %S/../Inputs/tiny.mlir -p fuse | amk-opt -p 'to-task{num-sms=3}' | amk-opt -p 'to-sched{num-sms=3}' | amk-opt -p to-vm -o %t.steps
// RUN: diff %t.once %t.steps
// Nothing is carried from phase to phase but the IR: in four runs of the tool the pipeline ends
// as in one.
