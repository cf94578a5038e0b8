// RUN: amk-opt %S/../Inputs/families.mlir -p convert-model-to-task | filecheck %s
// Norms of every head, partial rotation, windows, caps, sinks and factors arrive in the kernels.

// CHECK:     @embed embed n 32 {{.*}} multiplier 4.0
// CHECK:     rms_norm n 32 tile 8 {{.*}} weight @head_norm eps 1.0e-06 {{.*}} groups 4 shared 1
// CHECK:     rms_norm n 16 tile 8 {{.*}} weight @head_norm eps 1.0e-06 {{.*}} groups 2 shared 1
// CHECK:     attention heads 4 {{.*}} window 3 softcap 5.0
// CHECK:     binary n 48 tile 8 op gelu_tanh_mul
// CHECK:     layer_norm n 32 tile 8 {{.*}} weight @norm eps 1.0e-05 {{.*}} bias @bias_norm
// CHECK:     rope heads 4 head_dim 8 {{.*}} rope @half {{.*}} rotary 4 interleaved 1
// CHECK:     attention heads 4 {{.*}} sinks @sinks
// CHECK:     gemv {{.*}} bias @bias_norm scale 0.22
// CHECK:     unary n 48 tile 8 op relu2
// CHECK:     unary n 64 tile 8 op scale {{.*}} value 0.5
// CHECK:     unary n 64 tile 8 op softcap {{.*}} out @logits value 30.0
