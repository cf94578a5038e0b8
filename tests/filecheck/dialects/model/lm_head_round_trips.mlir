// RUN: amk-opt %s | amk-opt | filecheck %s
// model.lm_head: from the last hidden state to the next token.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.weight @g : tensor<16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %next = model.lm_head %h, @table norm @g eps 1.0e-05 : tensor<16xf32>
  model.return %next
}

// CHECK: %next = model.lm_head %h, @table norm @g eps 1.000000e-05 : tensor<16xf32>
