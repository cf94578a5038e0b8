// RUN: amk-translate -t model --dtype fp32 %S/../Inputs/small.json | amk-opt -p 'lower-unfused{num-sms=2 ring-kb=64 sync=counters}' -o %t.vm && amk-translate -t cuda %t.vm | filecheck %s
// Every kernel has its template; a head that is a gemv like any other is never left out.

// CHECK: constexpr bool TOKENS = true;
// CHECK: constexpr bool SKIPS = false;
// CHECK: // ---- kernels/append.cuh
// CHECK: // ---- kernels/binary.cuh
// CHECK: // ---- kernels/norm.cuh
// CHECK: // ---- kernels/rope.cuh
// CHECK: struct Code{{[0-9]+}} {
