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
    &fc_implicit_gemm_method, &fc_pointwise_method,     &fc_spatial_method,  &fc_depthwise_method,
    &fc_kn2row_method,        &fc_narrow_groups_method, &fc_winograd_method, NULL,
};

int fc_may_be_exact(const fc_forward *call) { return call->method->may_be_exact && call->method->may_be_exact(call); }

int64_t fc_parts_at_most(const fc_forward *call) {
    return call->method->take_apart ? fc_min(call->problem.n, FC_MOST_PARTS) : 1;
}

int64_t fc_take_apart(const fc_forward *call, fc_forward *parts) {
    if (call->method->take_apart) return call->method->take_apart(call, parts);
    *parts = *call;
    return 1;
}

void fc_forward_begin(void *scratch) { fc_hold_nothing(scratch); }

void fc_forward_task(const fc_forward *call, int64_t task, void *scratch) {
    if (!call->method->holds) fc_hold_nothing(scratch);
    call->method->task(call, task, scratch);
}

void fc_forward_task_of(const fc_forward *calls, int count, int64_t task, void *scratch) {
    int low = 0, high = count; /* The call is one of these; there may be one for each of thousands of images. */
    while (high - low > 1) {
        const int middle = low + (high - low) / 2;
        if (calls[middle].first_task <= task)
            low = middle;
        else
            high = middle;
    }
    fc_forward_task(&calls[low], task - calls[low].first_task, scratch);
}
