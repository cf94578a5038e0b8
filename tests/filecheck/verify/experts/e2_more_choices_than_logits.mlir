// RUN: not amk-opt %s 2>&1 | filecheck %s
// (E2) No more can be chosen than there are.

vm.program @step {
  model.weight @table : tensor<16x8xf32>
  model.weight @router : tensor<3x8xf32>
  model.weight @gate_up : tensor<48x8xf32>
  model.weight @down : tensor<24x8xf32>
  vm.buffer @token : flagged<1xi32>
  vm.buffer @x : flagged<8xf32>
  vm.buffer @scores : flagged<3xf32>
  vm.buffer @ids : flagged<2xi32>
  vm.buffer @weights : flagged<2xf32>
  vm.buffer @h : flagged<16xf32>
  vm.buffer @y : flagged<8xf32>
  vm.counters 0
  vm.kernel @embed embed n 8 tile 8 token @token table @table out @x
  vm.kernel @router gemv n 3 tile 8 k 8 weight @router x @x out @scores
  vm.kernel @topk topk n 1 choices 2 x @scores ids @ids weights @weights
  vm.kernel @gate_up moe_gate_up n 16 tile 8 k 8 choices 2 experts 3 weight @gate_up ids @ids x @x out @h
  vm.kernel @down moe_down n 8 tile 8 k 8 choices 2 experts 3 weight @down ids @ids weights @weights x @h out @y
  vm.kernel @argmax argmax n 8 x @y out @token
  vm.queue 0 {
    vm.run @embed[0 to 1]
    vm.run @router[0 to 1]
    vm.run @gate_up[0 to 1]
    vm.run @down[0 to 1]
  }
  vm.queue 1 {
    vm.run @topk[0 to 1]
    vm.run @gate_up[1 to 2]
    vm.run @argmax[0 to 1]
  }
}

// CHECK: error: kernel @topk is malformed: choices 2 must not exceed n 1 (E2)
