// RUN: not amk-opt %s 2>&1 | filecheck %s
// (W7) A program ends with the next token.

model.program @decode(%token: tensor<1xi32>, %pos: index) {
}

// CHECK: error: program @decode does not end with model.return (W7)
