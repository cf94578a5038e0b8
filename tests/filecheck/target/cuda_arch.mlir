// RUN: amk-translate -t model --dtype fp32 %S/../Inputs/small.json | amk-opt -p 'lower{num-sms=2 ring-kb=64}' -o %t.vm
// RUN: amk-translate -t cuda --arch sm_80 %t.vm | filecheck %s
// RUN: not amk-translate -t cuda --arch sm_75 %t.vm 2>&1 | filecheck %s --check-prefix=OLD
// Without bulk copies the same ring is filled by cp.async; what is no target is refused.

// CHECK: decode for sm_80
// CHECK: #define AMK_BULK_COPY 0
// CHECK: #define AMK_TRY_WAIT 0
// OLD: error: arch 'sm_75' is not supported (supported: sm_80, sm_90a, sm_100a, sm_120a)
