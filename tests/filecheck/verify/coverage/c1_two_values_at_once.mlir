// RUN: not amk-opt %s 2>&1 | filecheck %s
// (C1) One instruction writes the same words for two values; which of them stays is not said.

vm.program @step {
  model.weight @table : tensor<8x8xf32>
  model.weight @norm : tensor<8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @y : flagged<8xf32> uses 2
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @add rms_norm n 8 tile 8 x @x weight @norm eps 1.0e-05 out @y res_in @x res_out @y#1
  vm.kernel @argmax argmax n 8 x @y#1 out @token
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @add[0 to 1]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: error: instruction 1 of SM 0 writes @y[0:8] as use 0 and as use 1 at once (C1)
