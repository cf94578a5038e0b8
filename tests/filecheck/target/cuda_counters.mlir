// RUN: amk-translate -t model --dtype fp32 %S/../Inputs/small.json | amk-opt -p 'lower{num-sms=2 ring-kb=64 sync=counters}' -o %t.vm && amk-translate -t cuda %t.vm | filecheck %s
// A program with counters has their table and their code; activations lie in plain memory.

// CHECK: #define AMK_COUNTERS 1
// CHECK: unsigned EVENTS[
// CHECK: // ---- runtime/counters.cuh
// CHECK: using X = Operand<PLAIN, float>;
