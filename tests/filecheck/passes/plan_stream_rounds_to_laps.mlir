// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},convert-task-to-sched{num-sms=2},plan-stream{ring-kb=31 copy-kb=4 consumers=6 window-kb=100}' | filecheck %s
// A slot always meets the same warp: of 31 slots, 30 are whole laps of 6 warps. Four slots a copy do
// not divide a lap, three do. The window is never more than the ring.

// CHECK: sched.ring slots 30 columns 32 group 3 consumers 6 window 10
