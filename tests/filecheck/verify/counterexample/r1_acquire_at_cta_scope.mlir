// RUN: not amk verify %s | filecheck %s
// (R1) Who waits has counted what it needs, and may see older data all the same.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : plain<4xf32>
  vm.counters 1
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head[0 to 1] signal 0 += 1
  }
  vm.queue 1 {
    vm.run @head[1 to 2] signal 0 += 1
    vm.run @argmax[0 to 1] wait 0 >= 2 cta
  }
}

// CHECK:      instruction 1 of SM 1 reads @pairs[0:2], written by instruction 1 of SM 0; no wait orders them (R1)
// CHECK:      SM 1, step 0: instruction 1 @argmax[0 to 1] reads @pairs[0:2], the value of epoch 1; it waits for counter 0 >= 2 (cta: no acquire), reached
// CHECK-NEXT: SM 0, step 0: instruction 1 @head[0 to 1] writes @pairs[0:2], the value of epoch 1; SM 1 acquires no release from behind that
