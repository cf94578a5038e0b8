// RUN: amk-opt %s | filecheck %s
// (K2), (K3): no block ahead but one, and just as many entries as the head needs.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : plain<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.counters 1
  sched.ring slots 16 columns 64 group 2 consumers 8 window 4 finishers 2 depth 1 lead 1 entries 24 kv_buffers 1 kv_bytes 64
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.queue 0 {
    vm.run @embed[0 to 1] signal 0 += 1
    vm.run @head[0 to 2] wait 0 >= 1
    vm.run @argmax[0 to 1]
  }
}

// CHECK: sched.ring slots 16 columns 64 group 2 consumers 8 window 4 finishers 2 depth 1 lead 1 entries 24 kv_buffers 1 kv_bytes 64
