// RUN: amk-opt %s -p 'insert-sync{sync=counters}' | filecheck %s
// A tile of @q has 8 rows, and a head of 16 rows needs two of them. So
// two tiles share a counter, and a head waits for its own two and not for all four.

task.program @step {
  model.weight @w : tensor<32x8xf32>
  model.weight @table : tensor<16x8xf32>
  model.rope_table @rope scale 1.0 [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
  task.buffer @token : plain<1xi32>
  task.buffer @x : plain<8xf32>
  task.buffer @q : plain<32xf32>
  task.buffer @y : plain<32xf32>
  task.buffer @logits : plain<16xf32>
  task.family @embed embed n 8 tile 8 token @token table @table out @x
  task.family @q gemv n 32 tile 8 k 8 weight @w x @x out @q
  task.family @rope rope heads 2 head_dim 16 x @q rope @rope out @y
  task.family @head gemv n 16 tile 8 k 8 weight @table x @x out @logits
  task.family @argmax argmax n 16 x @logits out @token
}

// CHECK:      task.counter @head.ready of @head [0, 2]
// CHECK-NEXT: task.counter @q.ready of @q [0, 2, 4]
// CHECK-NEXT: task.counter @embed.ready of @embed [0, 1]
