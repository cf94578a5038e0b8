// RUN: amk-opt %s | amk-opt | filecheck %s
// model.argmax makes the token that model.return ends the step with.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %next = model.argmax %h : tensor<16xf32>
  model.return %next
}

// CHECK: %next = model.argmax %h : tensor<16xf32>
// CHECK-NEXT: model.return %next
