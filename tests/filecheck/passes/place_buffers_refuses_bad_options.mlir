// RUN: not amk-opt %s -p 'place-buffers{period=-1}' 2>&1 | filecheck %s --check-prefix=PERIOD
// RUN: not amk-opt %s -p 'place-buffers{period=two}' 2>&1 | filecheck %s --check-prefix=TYPE
// RUN: not amk-opt %s -p place-buffers 2>&1 | filecheck %s --check-prefix=LEVEL
// A period is a number of buffers.

builtin.module {
}

// PERIOD: error: period must not be negative, got -1
// TYPE:   error: option 'period' of pass 'place-buffers' is int, got 'two'
// LEVEL:  error: the module has no sched.program
