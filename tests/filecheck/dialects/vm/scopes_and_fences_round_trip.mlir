// RUN: amk-opt %s | amk-opt | filecheck %s
// GPU scope is what is not said.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.counters 1
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head[0 to 1] signal 0 += 1 relaxed
  }
  vm.queue 1 {
    vm.run @head[1 to 2] fence signal 0 += 1
    vm.run @argmax[0 to 1] wait 0 >= 2 cta, 0 >= 1 once relaxed
  }
}

// CHECK: vm.run @head[0 to 1] signal 0 += 1 relaxed
// CHECK: vm.run @head[1 to 2] fence signal 0 += 1
// CHECK: vm.run @argmax[0 to 1] wait 0 >= 2 cta, 0 >= 1 once relaxed
