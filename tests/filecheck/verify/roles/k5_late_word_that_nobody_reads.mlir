// RUN: not amk-opt %s 2>&1 | filecheck %s
// (K5) Nothing says that what @one writes is there when @two overwrites it.

vm.program @step {
  model.weight @table : tensor<16x16xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<16xf32>
  vm.buffer @y : flagged<16xf32> uses 2
  vm.buffer @z : flagged<16xf32>
  vm.buffer @r : local<16xf32>
  vm.buffer @s : local<16xf32>
  vm.counters 0
  sched.ring slots 16 columns 64 group 2 consumers 8 window 4
  vm.kernel @embed embed n 16 tile 16 token @token table @table out @x res @r
  vm.kernel @one gemv n 16 tile 4 k 16 weight @table x @x out @y 
  vm.kernel @two gemv n 16 tile 4 k 16 weight @table x @x out @y#1 
  vm.kernel @argmax argmax n 16 x @y#1 out @token
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @one[0 to 4]
    vm.run @two[0 to 4]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: error: instruction 1 of SM 0 leaves words of @y[0:16] late that nobody reads (K5)
