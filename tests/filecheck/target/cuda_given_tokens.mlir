// RUN: amk-translate -t model --dtype fp32 %S/../Inputs/small.json | amk-opt -p 'lower{num-sms=2 ring-kb=64}' -o %t.vm && amk-translate -t cuda %t.vm | filecheck %s
// In steps whose next token is given, the head's slots at the end of the stream are left out. SM 0
// streams 19 slots, 3 of the head, and completes the third round of its 8 warps by 5; without the
// head, 16 are two rounds. SM 1 has 18 slots, 2 of the head.

// CHECK:      constexpr bool TOKENS = true;
// CHECK-NEXT: constexpr bool SKIPS = true;
// CHECK:      unsigned from, slots, padding, slots_given, padding_given;
// CHECK:      Stream STREAMS[2] = {
// CHECK-NEXT: {0,24,5,16,0,7,0,0,1},
// CHECK-NEXT: {{{[0-9]+}},24,6,16,0,8,7,1,1}};
