// RUN: amk-opt %s | amk-opt | filecheck %s
// A place is a buffer, an offset and a use; zeros are left out.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<16xf32> uses 2
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x+8#1
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x+8#1 out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head[0 to 1]
  }
  vm.queue 1 {
    vm.run @head[1 to 2]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: vm.buffer @x : flagged<16xf32> uses 2
// CHECK: embed n 8 tile 8 token @token table @table out @x+8#1
// CHECK: gemv n 16 tile 8 k 8 weight @table x @x+8#1
