// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse' -o %t.model && amk-opt %t.model -o %t.again && diff %t.model %t.again
// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=3}' -o %t.task && amk-opt %t.task -o %t.again && diff %t.task %t.again
// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=3},to-sched{num-sms=3}' -o %t.sched && amk-opt %t.sched -o %t.again && diff %t.sched %t.again
// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower{num-sms=3}' -o %t.vm && amk-opt %t.vm -o %t.again && diff %t.vm %t.again
// What is printed at each level reads back as the same text.
