// RUN: not amk verify %s --trace %t.json
// RUN: filecheck %s --input-file %t.json
// A trace has a track per SM and per loader, and marks who comes too early and who too late.

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
    vm.run @argmax[0 to 1]
  }
}

// CHECK: {"ph": "M", "name": "process_name", "pid": 0, "tid": 0, "args": {"name": "R1: instruction 1 of SM 1 reads
// CHECK-SAME: "args": {"name": "SM 0"}
// CHECK-SAME: "args": {"name": "SM 0 loader"}
// CHECK-SAME: "args": {"name": "SM 1"}
// CHECK-SAME: "cat": "violation", "name": "!! @argmax[0 to 1]"
// CHECK-SAME: "cat": "violation", "name": "!! @head[0 to 1]"
// CHECK-SAME: "ph": "s", "id": 0, "name": "nothing orders these"
