// RUN: not amk-opt %s 2>&1 | filecheck %s
// (M4) A cache has rows, heads and head_dim.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.cache @kv rows 0 heads 1 head_dim 2 : bf16
  model.return %token
}

// CHECK: error: cache @kv has an empty dimension 0x1x2 (M4)
