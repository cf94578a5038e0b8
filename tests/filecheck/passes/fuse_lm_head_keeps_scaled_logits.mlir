// RUN: amk-opt %s -p fuse-lm-head | filecheck %s
// model.lm_head has no factor: logits that are scaled stay a value.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %l = model.linear %h, @table scale 0.5 : tensor<16xf32> -> tensor<32xf32>
  %next = model.argmax %l : tensor<32xf32>
  model.return %next
}

// CHECK-NOT: model.lm_head
// CHECK:     %next = model.argmax %l
