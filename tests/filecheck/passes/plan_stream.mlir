// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},convert-task-to-sched{num-sms=2},plan-stream{ring-kb=32 window-kb=8 copy-kb=4 consumers=4}' | filecheck %s
// Slots of 32 columns waste the least on matrices of 16 and 24; 32 KiB are 32 slots of 1 KiB, in
// copies of four, two of them in flight.

// CHECK: sched.ring slots 32 columns 32 group 4 consumers 4 window 2
