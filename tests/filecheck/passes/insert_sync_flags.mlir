// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'fuse,convert-model-to-task,insert-sync' | filecheck %s
// What crosses SMs becomes flagged and needs no counter. Local buffers stay local; logits, which
// only the host reads, stay plain; the cache needs nothing, because its only reader writes it.

// CHECK:     task.buffer @token : flagged<1xi32>
// CHECK:     task.buffer @embed.y : flagged<16xf32>
// CHECK:     task.buffer @embed.res : local<16xf32>
// CHECK:     task.buffer @logits : plain<40xf32>
// CHECK-NEXT: task.buffer @lm_head.pairs : flagged<10xf32>
// CHECK-NOT: task.counter
