// RUN: not amk verify %s | filecheck %s
// (R5) Both run in order; the bulk copy may find the row of an earlier use of the memory.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  model.cache @kv rows 64 heads 2 head_dim 4 : f32
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.buffer @y : flagged<8xf32>
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @y out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.kernel @append append kv_heads 2 head_dim 4 k @x v @x cache @kv
  vm.kernel @attention attention heads 2 kv_heads 2 head_dim 4 q @x out @y cache @kv scale 0.5
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @append[0 to 2] fence
    vm.run @attention[0 to 2]
    vm.run @head[0 to 1]
  }
  vm.queue 1 {
    vm.run @head[1 to 2]
    vm.run @argmax[0 to 1]
  }
}

// CHECK:      instruction 2 of SM 0 copies row pos of @kv[0], written by instruction 1 of SM 0; no fence is between them (R5)
// CHECK-NEXT: SM 0, step 0: instructions 0 to 1, @embed[0 to 1] to @append[0 to 2], run
// CHECK-NEXT: SM 0, step 0: instruction 2 @attention[0 to 2] reads rows 0 to pos of @kv[0:1]; it waits for epoch 1 in @x[0:4], which is there; epoch 1 in @x[4:8], which is there
// CHECK-NEXT: SM 0, step 0: instruction 1 @append[0 to 2] writes row pos of @kv[0:1]; no fence of SM 0 comes behind that
