// RUN: amk-opt %s -p fuse-append | filecheck %s
// With two readers of a cache, no one of them owns its new row: the append stays.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.weight @table : tensor<32x16xf32>
  model.cache @kv rows 64 heads 2 head_dim 4 : f32
  model.weight @k.w : tensor<8x16xf32>
  %h = model.embed %token, @table : tensor<16xf32>
  %k = model.linear %h, @k.w : tensor<16xf32> -> tensor<8xf32>
  %v = model.linear %h, @k.w : tensor<16xf32> -> tensor<8xf32>
  model.kv_append %k, %v, @kv at %pos : tensor<8xf32>, tensor<8xf32>
  %a = model.attention %h, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  %b = model.attention %h, @kv at %pos heads 4 kv_heads 2 head_dim 4 scale 0.5 : tensor<16xf32> -> tensor<16xf32>
  model.return %token
}

// CHECK:      model.kv_append %k, %v, @kv
// CHECK-NEXT: model.attention %h, @kv
// CHECK-NEXT: model.attention %h, @kv
