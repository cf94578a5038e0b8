// RUN: amk-translate -t model --dtype fp32 %S/../Inputs/small.json | amk-opt -p 'lower{num-sms=2 ring-kb=64 sampling=true}' -o %t.vm && amk-translate -t cuda %t.vm | filecheck %s
// A program that draws its tokens has `sample` instead of `argmax`, and flagged logits.

// CHECK:     constexpr bool TOKENS = true;
// CHECK-NOT: kernels/argmax.cuh
// CHECK:     // ---- kernels/sample.cuh
// CHECK:     /// @sample
// CHECK-NEXT: struct Code
// CHECK-NEXT: using X = Operand<FLAGGED, float>;
// CHECK-NEXT: using Out = Operand<FLAGGED, int>;
// CHECK-NEXT: static constexpr int N = 40;
