// RUN: amk-opt %s -p fuse-residual,verify-model | filecheck %s
// A norm behind a matrix adds the residual, which keeps it beside the SM that owns the rows.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @o : tensor<16x16xf32>
  model.weight @g : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %y = model.linear %h, @o : tensor<16xf32> -> tensor<16xf32>
  %n = model.rms_norm %y, @g eps 1.0e-06 : tensor<16xf32> -> tensor<16xf32>
  %s = model.add %h, %n : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  %next = model.argmax %s : tensor<16xf32>
  model.return %next
}

// CHECK:     %s = model.rms_norm %y, @g eps 1.000000e-06 residual %h : tensor<16xf32> : tensor<16xf32> -> tensor<16xf32>
// CHECK-NOT: model.add
