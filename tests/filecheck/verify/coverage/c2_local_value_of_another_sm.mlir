// RUN: not amk-opt %s 2>&1 | filecheck %s
// (C2) A local buffer has an instance per SM: what SM 1 reads there, SM 0 has not written.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.buffer @r : local<8xf32>
  vm.buffer @s : flagged<8xf32>
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x res @r
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.kernel @add binary n 8 tile 8 op add a @r b @r out @s
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head[0 to 1]
  }
  vm.queue 1 {
    vm.run @head[1 to 2]
    vm.run @add[0 to 1]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: error: instruction 1 of SM 1 reads @r of SM 1[0:8], which no instruction writes (C2)
