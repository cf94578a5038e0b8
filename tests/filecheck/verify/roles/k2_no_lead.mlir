// RUN: not amk-opt %s 2>&1 | filecheck %s
// (K2) Nobody could fill the first entry.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.counters 0
  sched.ring slots 16 columns 64 group 2 consumers 8 window 4 lead 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head[0 to 2]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: error: consumers run 0 row blocks ahead, there are entries for 8 (K2)
