/* Pooling and its gradients as independent tasks: fc_pool_split once, then fc_pool_task for each task. */
#ifndef FC_LAYERS_POOL_H
#define FC_LAYERS_POOL_H

#include "base/problem.h"
#include "kernels/kernels.h"

typedef struct fc_pool {
    /* set by the caller */
    const fc_kernels *kernels;
    int average, gradient;
    int64_t n, h, w, c, oh, ow;
    int64_t kh, kw, stride_h, stride_w, pad_top, pad_left;
    fc_tensor x;     /* of a floating type, channels side by side; not used by the gradient of an average */
    void *y;         /* the result, dense */
    int64_t *places; /* of the maxima in their image, row * w + column, dense; null: not wanted */
    const void *dy;  /* of the gradient: that of the result, dense */
    void *dx;        /* of the gradient: that of the input, dense */
    fc_dtype dtype;

    int64_t row_tasks, channel_tasks, tasks; /* set by fc_pool_split */
} fc_pool;

void fc_pool_split(fc_pool *call, int threads);
void fc_pool_task(const fc_pool *call, int64_t task);

#endif
