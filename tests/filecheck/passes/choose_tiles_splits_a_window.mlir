// RUN: amk-opt %s -p 'convert-model-to-task,choose-tiles{num-sms=64 chunk=8}' | filecheck %s
// A window of 16 rows has rows of three chunks of 8, however long the cache: a fourth split would never have one of them
// while the others have two.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.cache @kv rows 4096 heads 4 head_dim 4 : f32
  %h = model.embed %token, @table : tensor<16xf32>
  %a = model.attention %h append %h, %h : tensor<16xf32>, tensor<16xf32>, @kv at %pos heads 4 kv_heads 4 head_dim 4 scale 0.5 window 16 : tensor<16xf32> -> tensor<16xf32>
  %next = model.argmax %a : tensor<16xf32>
  model.return %next
}

// CHECK:     attention heads 4 {{.*}} splits 3 chunk 8 {{.*}} window 16
