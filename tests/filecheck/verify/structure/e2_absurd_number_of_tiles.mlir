// RUN: not amk-opt %s 2>&1 | filecheck %s
// (E2) A kernel of two billion tiles is refused at once, whatever it would touch.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  model.cache @kv rows 64 heads 2 head_dim 4 : f32
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @logits : plain<16xf32>
  vm.buffer @pairs : flagged<4xf32>
  vm.buffer @y : flagged<8xf32>
  vm.buffer @part : plain<24xf32>
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @head gemv n 16 tile 8 k 8 weight @table x @y out @logits epilogue logits cand @pairs
  vm.kernel @argmax argmax n 2 x @pairs out @token pairs 1
  vm.kernel @append append kv_heads 2 head_dim 4 k @x v @x cache @kv
  vm.kernel @attention attention heads 2 kv_heads 2 head_dim 4 q @x out @y cache @kv scale 0.5 splits 1000000000 chunk 1 part @part
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @head[0 to 1]
  }
  vm.queue 1 {
    vm.run @head[1 to 2]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: error: kernel @attention has 2000000000 tiles, more than 1048576 (E2)
