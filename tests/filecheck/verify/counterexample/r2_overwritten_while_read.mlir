// RUN: not amk verify %s --trace %t.json | filecheck %s
// (R2) The value is gone when its reader comes.

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

// CHECK:      instruction 1 of SM 1 overwrites @x#1[8:16], which instruction 1 of SM 0 may still read; no wait orders them (R2)
// CHECK:      SM 1, step 0: instruction 1 @add[1 to 2] writes @x[8:16], the value of epoch 2; it waits for epoch 1 in @y[8:16], which is there
// CHECK-NEXT: SM 0, step 0: instruction 1 @mid[0 to 1] has not run yet: it reads @x[8:16], the value of epoch 1
