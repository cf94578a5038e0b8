// RUN: not amk-opt %s -p 'choose-tiles{num-sms=0}' 2>&1 | filecheck %s --check-prefix=SMS
// RUN: not amk-opt %s -p 'choose-tiles{rows=12}' 2>&1 | filecheck %s --check-prefix=ROWS
// RUN: not amk-opt %s -p 'choose-tiles{splits=-1}' 2>&1 | filecheck %s --check-prefix=SPLITS
// RUN: not amk-opt %s -p 'choose-tiles{chunk=0}' 2>&1 | filecheck %s --check-prefix=CHUNK
// RUN: not amk-opt %s -p choose-tiles 2>&1 | filecheck %s --check-prefix=EMPTY
// Tiles are whole ring slots, and nothing is cut into nothing.

builtin.module {
}

// SMS:    error: num-sms must be positive, got 0
// ROWS:   error: rows must be a multiple of 8, got 12
// SPLITS: error: splits must not be negative, got -1
// CHUNK:  error: chunk must be positive, got 0
// EMPTY:  error: the module has no task.program
