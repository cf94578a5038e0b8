// RUN: amk-opt %s --print-op-generic | filecheck %s --check-prefix GENERIC
// RUN: amk-opt %s --print-op-generic | amk-opt | filecheck %s
// The generic form holds an instruction as one attribute, and reads back.

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
    vm.run @head[1 to 2]
    vm.run @argmax[0 to 1]
  }
}

// GENERIC: "vm.run"() <{run = #vm.run_attr<@head[0 to 1]>}>
// CHECK:   vm.run @head[0 to 1]
