// RUN: not amk-opt %s -p 'fuse-qkv{all=1}' 2>&1 | filecheck %s --check-prefix=QKV
// RUN: not amk-opt %s -p 'fuse-append{all=1}' 2>&1 | filecheck %s --check-prefix=APPEND
// RUN: not amk-opt %s -p 'fuse-gate-up{all=1}' 2>&1 | filecheck %s --check-prefix=GATE
// RUN: not amk-opt %s -p 'fuse-activation{all=1}' 2>&1 | filecheck %s --check-prefix=ACTIVATION
// RUN: not amk-opt %s -p 'fuse-norm{all=1}' 2>&1 | filecheck %s --check-prefix=NORM
// RUN: not amk-opt %s -p 'fuse-residual{all=1}' 2>&1 | filecheck %s --check-prefix=RESIDUAL
// RUN: not amk-opt %s -p 'fuse-lm-head{all=1}' 2>&1 | filecheck %s --check-prefix=HEAD
// A fusion is made wherever it keeps what the program computes, or left out of the pipeline.

builtin.module {
}

// QKV:      error: pass 'fuse-qkv' has no option 'all' (options: none)
// APPEND:   error: pass 'fuse-append' has no option 'all' (options: none)
// GATE:     error: pass 'fuse-gate-up' has no option 'all' (options: none)
// ACTIVATION: error: pass 'fuse-activation' has no option 'all' (options: none)
// NORM:     error: pass 'fuse-norm' has no option 'all' (options: none)
// RESIDUAL: error: pass 'fuse-residual' has no option 'all' (options: none)
// HEAD:     error: pass 'fuse-lm-head' has no option 'all' (options: none)
