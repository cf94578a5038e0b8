// RUN: not amk-opt %s -p fuse-norm 2>&1 | filecheck %s
// A fusion on a module without a model program is a mistake in the pipeline, not a no-op.

builtin.module {
}

// CHECK: error: the module has no model.program
