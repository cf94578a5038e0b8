// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task{sampling=true}' | filecheck %s
// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower-unfused{num-sms=2 sampling=true}' | filecheck %s --check-prefix=UNFUSED
// With `sampling` the token is drawn from all logits; without fusion too.

// CHECK: task.family @lm_head {{.*}} out @logits {{.*}} epilogue logits
// CHECK-NEXT: task.family @sample sample n 40 x @logits out @token
// CHECK-NOT: argmax
// UNFUSED: vm.kernel @sample sample n 40 x @logits out @token
