// RUN: not amk verify %s --trace %t.json | filecheck %s
// (R3) The older value may land last.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32> uses 2
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x#1 out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.kernel @again embed n 8 tile 8 token @token table @table out @x#1
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head[0 to 1]
  }
  vm.queue 1 {
    vm.run @again[0 to 1]
    vm.run @head[1 to 2]
    vm.run @argmax[0 to 1]
  }
}

// CHECK:      instruction 0 of SM 1 overwrites @x#1[0:8], which instruction 0 of SM 0 may still write; no wait orders them (R3)
// CHECK-NEXT: SM 1, step 0: instruction 0 @again[0 to 1] writes @x[0:8], the value of epoch 2; it waits for nothing
// CHECK-NEXT: SM 0, step 0: instruction 0 @embed[0 to 1] has not run yet: it writes @x[0:8], the value of epoch 1
