/* Local response normalization and gradients of activations, a range at a time. */
#ifndef FC_ELEMENTWISE_H
#define FC_ELEMENTWISE_H

#include "kernels.h"

void fc_normalize(const fc_kernels *kernels, fc_dtype dtype, const fc_normalization *call, int64_t first_pixel,
                  int64_t end_pixel);

typedef struct fc_activation_grad {
    const fc_kernels *kernels;
    fc_dtype dtype; /* floating; the half precisions are computed in float32 */
    fc_activation activation;
    double parameter;
    const void *dy, *x; /* dense */
    void *dx;           /* may be dy or x */
} fc_activation_grad;

/* Elements first to end - 1 of the gradient. */
void fc_activation_grad_range(const fc_activation_grad *call, int64_t first, int64_t end);

#endif
