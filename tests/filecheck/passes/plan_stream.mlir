// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,to-task{num-sms=2},convert-task-to-sched{num-sms=2},plan-stream{ring-kb=16 window-kb=4 copy-kb=2}' | filecheck %s
// 32 columns pad matrices of 16 and 24 columns the least. A slot is 8 x 32 x 4 = 1024 bytes, so a
// copy of 2 KiB is two of them, 16 KiB hold 16 (two laps of 8 warps), and two copies fill the window.

// CHECK: sched.ring slots 16 columns 32 group 2 consumers 8 window 2
