// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W7) A program holds declarations and operators of the model dialect only.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
  builtin.module {
  }
  model.return %token
}

// CHECK: error: builtin.module is no operator of the model dialect (W7)
