// RUN: amk-translate -t model --dtype fp32 %S/../Inputs/small.json | amk-opt -p 'lower{num-sms=2 ring-kb=64}' -o %t.vm && amk-translate -t cuda %t.vm | filecheck %s
// One source: constants, tables, runtime, the templates in use, a struct of constants per shape, the
// switch, the kernel. Flagged programs have no counters, and nothing waits for one.

// CHECK:      // decode for sm_90a: 2 SMs
// CHECK-NEXT: // program
// CHECK-NEXT: // certificate
// CHECK:      #define AMK_BULK_COPY 1
// CHECK:      #define AMK_COUNTERS 0
// CHECK:      constexpr int WARPS = 8;
// CHECK:      using Streamed = float;
// CHECK:      OPS[8][28]
// CHECK:      QUEUES[15][4]
// CHECK-NOT:  EVENTS[{{[0-9]+}}][
// CHECK:      // ---- runtime/base.cuh
// CHECK-NOT:  runtime/counters.cuh
// CHECK:      // ---- runtime/ring.cuh
// CHECK:      // ---- kernels/argmax.cuh
// CHECK:      // ---- kernels/attention.cuh
// CHECK:      // ---- kernels/embed.cuh
// CHECK-NEXT: #line 1 "kernels/embed.cuh"
// CHECK:      // ---- kernels/gemv.cuh
// CHECK-NOT:  // ---- kernels/
// CHECK:      #line {{[0-9]+}} "kernel.cu"
// CHECK:      struct Code0 {
// CHECK:      void dispatch(Cta& c) {
// CHECK:      amk_kernel(const __grid_constant__ Args a)
