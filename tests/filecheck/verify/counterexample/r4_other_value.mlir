// RUN: not amk verify %s --trace %t.json | filecheck %s
// (R4) A later value of the same memory is there before the earlier one was read.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.buffer @r : local<8xf32> uses 2
  vm.buffer @y : plain<8xf32> uses 1
  vm.buffer @s : plain<8xf32>
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x res @r
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.kernel @again embed n 8 tile 8 token @token table @table out @y res @r#1
  vm.kernel @add binary n 8 tile 8 op add a @r b @r#1 out @s
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @again[0 to 1]
    vm.run @add[0 to 1]
    vm.run @head[0 to 1]
  }
  vm.queue 1 {
    vm.run @head[1 to 2]
    vm.run @argmax[0 to 1]
  }
}

// CHECK:      but instruction 1 of SM 0 has left a later value there; no wait orders them (R4)
// CHECK:      SM 0, step 0: instruction 1 @again[0 to 1] writes @r[0:8], the value of epoch 2; it waits for nothing
// CHECK-NEXT: SM 0, step 0: instruction 2 @add[0 to 1] has not run yet: it reads @r[0:8], the value of epoch 1
