// RUN: not amk-opt %s 2>&1 | filecheck %s
// (P1) An SM has one ring.

sched.program @step {
  model.weight @table : tensor<16x8xf32>
  task.buffer @token : flagged<1xi32>
  task.buffer @x : flagged<8xf32>
  task.buffer @logits : plain<16xf32>
  task.buffer @pairs : flagged<4xf32>
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits epilogue logits cand @pairs
  task.family @argmax argmax n 2 x @pairs out @token pairs 1
  sched.ring slots 16 columns 64 group 2 consumers 8 window 4
  sched.ring slots 16 columns 64 group 2 consumers 8 window 4
  sched.sm 0 { @embed[0 to 1] @head[0 to 1] }
  sched.sm 1 { @head[1 to 2] @argmax[0 to 1] }
}

// CHECK: error: the ring is declared twice (P1)
