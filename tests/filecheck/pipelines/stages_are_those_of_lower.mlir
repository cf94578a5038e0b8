// RUN: amk-opt %S/../Inputs/tiny.mlir -p fuse | amk-opt -p 'to-task{num-sms=2}' | amk-opt -p 'to-sched{num-sms=2}' | amk-opt -p to-vm -o %t.steps
// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower{num-sms=2}' -o %t.whole
// RUN: diff %t.steps %t.whole
// A level that is printed and read again lowers to the same program: text loses nothing.
