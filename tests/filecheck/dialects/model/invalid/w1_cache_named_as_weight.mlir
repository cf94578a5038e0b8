// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W1) A symbol is of the sort that its operator needs.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.cache @kv rows 64 heads 4 head_dim 4 : f32
  %h = model.embed %token, @kv : tensor<16xf32>
  model.return %token
}

// CHECK: error: model.embed %h refers to @kv, which is no declared weight or pack (W1)
