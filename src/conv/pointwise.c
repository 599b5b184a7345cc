/* Images whose pixels are evenly spaced become one row of pixels, for the implicit matrix product. */
#include "conv/pointwise.h"
#include "conv/implicit_gemm.h"
#include "layout/filter_panels.h"

/* Whether every pixel of the batch lies one stride_w after the pixel before. */
static int evenly_spaced(const fc_tensor *x, const fc_problem *p) {
    return (x->stride_h == p->w * x->stride_w || p->h == 1) && (x->stride_n == p->h * p->w * x->stride_w || p->n == 1);
}

static void prepare(fc_forward *call, int threads) {
    fc_problem *const p = &call->problem;
    if (evenly_spaced(&call->x, p) && evenly_spaced(&call->y, p)) {
        p->w = p->ow = p->n * p->h * p->w;
        p->n = p->h = p->oh = 1;
    }
    fc_implicit_gemm_method.prepare(call, threads);
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    fc_implicit_gemm_method.task(call, task, scratch);
}

const fc_method fc_pointwise_method = {
    .name = "pointwise",
    .holds = 1,
    .prepare = prepare,
    .task = compute,
    .packed_size = fc_packed_filters_size,
    .pack_tasks = fc_packed_filters_tasks,
    .pack = fc_pack_filters,
};
