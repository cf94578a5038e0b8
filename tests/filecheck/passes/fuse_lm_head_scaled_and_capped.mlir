// RUN: amk-opt %s -p fuse-lm-head | filecheck %s
// Factors of logits multiply, and a cap comes last.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %l = model.linear %h, @table scale 0.5 : tensor<16xf32> -> tensor<32xf32>
  %s = model.scale %l by 0.25 : tensor<32xf32> -> tensor<32xf32>
  %c = model.softcap %s cap 30.0 : tensor<32xf32> -> tensor<32xf32>
  %next = model.argmax %c : tensor<32xf32>
  model.return %next
}

// CHECK-NOT: model.argmax
// CHECK:     %next = model.lm_head %h, @table scale 1.250000e-01 softcap 3.000000e+01 : tensor<16xf32>
