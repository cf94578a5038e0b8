// RUN: not amk verify %s --trace %t.json | filecheck %s
// (D1) Who waits for whom, and what each waits for.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head[0 to 1]
  }
  vm.queue 1 {
    vm.run @argmax[0 to 1]
    vm.run @head[1 to 2]
  }
}

// CHECK:      deadlock: instruction 0 of SM 1 (@argmax) waits for @pairs[0:4], written by instruction 1 of SM 1, which is behind instruction 0 of SM 1 (D1)
// CHECK-NEXT: SM 0, step 0: instructions 0 to 1, @embed[0 to 1] to @head[0 to 1], run
// CHECK-NEXT: SM 1, step 0: instruction 0 @argmax[0 to 1] waits for epoch 1 in @pairs[0:4]: instruction 1 of SM 1 @head[1 to 2] has not written it
