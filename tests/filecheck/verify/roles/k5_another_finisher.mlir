// RUN: not amk-opt %s 2>&1 | filecheck %s
// (K5) Rows 8 to 15 are the second row block of @one, so finisher 1 leaves them; row 8 is in the first
// row block of the instruction that begins with row 4, so finisher 0 would read it, perhaps too early.

vm.program @step {
  model.weight @table : tensor<16x16xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<16xf32>
  vm.buffer @y : flagged<16xf32>
  vm.buffer @z : flagged<16xf32>
  vm.buffer @r : local<16xf32>
  vm.buffer @s : local<16xf32>
  vm.counters 0
  sched.ring slots 16 columns 64 group 2 consumers 8 window 4
  vm.kernel @embed embed n 16 tile 16 token @token table @table out @x res @r
  vm.kernel @one gemv n 16 tile 4 k 16 weight @table x @x out @y epilogue residual res_in @r res_out @s
  vm.kernel @two gemv n 16 tile 4 k 16 weight @table x @y out @z epilogue residual res_in @s
  vm.kernel @argmax argmax n 16 x @z out @token
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @one[0 to 4]
    vm.run @two[0 to 1]
    vm.run @two[1 to 4]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: error: instruction 3 of SM 0 touches @s[8:9], which another finisher may not have left yet (K5)
