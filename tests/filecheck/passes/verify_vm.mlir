// RUN: amk-opt %S/../Inputs/tiny.mlir -p 'lower{num-sms=2},verify-vm' | filecheck %s
// verify-vm passes what the pipeline makes, and changes nothing.

// CHECK: vm.program @decode
