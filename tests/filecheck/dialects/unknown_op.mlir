// RUN: not amk-opt %s 2>&1 | filecheck %s
// An op that no dialect of amk has is refused with its place.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  model.conv2d %token
  model.return %token
}

// CHECK: error: {{.*}}:5:16: operation model.conv2d is not registered
