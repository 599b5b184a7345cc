/* The table of methods of forward convolution. */
#include "conv/forward.h"
#include "conv/depthwise.h"
#include "conv/spatial.h"
#include "conv/implicit_gemm.h"
#include "conv/narrow_groups.h"
#include "conv/pointwise.h"
#include "conv/kn2row.h"
#include "winograd/forward.h"

const fc_method *const fc_methods[] = {
    &fc_implicit_gemm, &fc_pointwise,     &fc_spatial,          &fc_depthwise,
    &fc_kn2row,        &fc_narrow_groups, &fc_winograd_forward, NULL,
};

void fc_forward_begin(void *scratch) { fc_hold_nothing(scratch); }

void fc_forward_task(const fc_forward *call, int64_t task, void *scratch) {
    if (!call->method->holds) fc_hold_nothing(scratch);
    call->method->task(call, task, scratch);
}

void fc_forward_task_of(const fc_forward *calls, int64_t task, void *scratch) {
    for (; task >= calls->tasks; calls++) task -= calls->tasks;
    fc_forward_task(calls, task, scratch);
}
