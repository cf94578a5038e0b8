// RUN: not amk-opt %s 2>&1 | filecheck %s
// (R2) @add needs only its own half of @y to overwrite half of @x, which SM 0 may still be
// reading.

vm.program @step {
  model.weight @wide : tensor<16x16xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<16xf32> uses 2
  vm.buffer @y : flagged<16xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.counters 0
  vm.kernel @embed embed n 16 tile 16 token @token table @wide out @x
  vm.kernel @mid gemv n 16 tile 8 k 16 weight @wide x @x out @y
  vm.kernel @add binary n 16 tile 8 op add a @y b @y out @x#1
  vm.kernel @head gemv n 16 tile 8 k 16 weight @wide x @x#1 out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @mid[0 to 1]
    vm.run @head[0 to 1]
  }
  vm.queue 1 {
    vm.run @mid[1 to 2]
    vm.run @add[1 to 2]
    vm.run @add[0 to 1]
    vm.run @head[1 to 2]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: error: instruction 1 of SM 1 overwrites @x#1[8:16], which instruction 1 of SM 0 may still read; no wait orders them (R2)
