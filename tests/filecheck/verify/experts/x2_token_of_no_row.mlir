// RUN: not amk-opt %s 2>&1 | filecheck %s
// (X2) The head has more rows than the table: the token that it chooses may name none of them.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  model.weight @head : tensor<24x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<24xf32>
  vm.buffer @pairs : flagged<6xf32>
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head_rows gemv n 24 tile 8 k 8 weight @head x @x out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 3 x @pairs out @token pairs 1
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head_rows[0 to 3]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: error: kernel @embed reads a token of 16 from @token[0:1], written by @argmax, argmax of candidates of @head_rows among 24 rows (X2)
