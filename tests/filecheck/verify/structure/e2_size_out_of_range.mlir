// RUN: not amk-opt %s 2>&1 | filecheck %s
// (E2) Sizes are below 2^31, so that products of two fit 64 bits.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 9223372036854775808 x @pairs out @token pairs 1
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head[0 to 1]
  }
  vm.queue 1 {
    vm.run @head[1 to 2]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: error: kernel @argmax is malformed: n must be from 0 to 2147483647, got 9223372036854775808 (E2)
