// RUN: amk-translate -t model --dtype fp32 %S/../Inputs/small.json | amk-opt -p 'lower{num-sms=2}' -o %t.vm && amk-translate -t cuda %t.vm | filecheck %s
// In steps whose next token is given, the head's slots at the end of the stream are left out: of SM
// 0 three row blocks of the 16 slots, of SM 1 two, and what is left ends with a whole round again.

// CHECK:      constexpr bool TOKENS = true;
// CHECK-NEXT: constexpr bool SKIPS = true;
// CHECK:      unsigned from, slots, padding, slots_given, padding_given;
// CHECK:      Stream STREAMS[2] = {
