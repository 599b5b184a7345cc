/* Local response normalisation and gradients of relu, a range at a time. */
#ifndef FC_ELEMENTWISE_H
#define FC_ELEMENTWISE_H

#include "kernels.h"

void fc_normalize(const fc_kernels *kernels, fc_dtype dtype, const fc_normalization *call, int64_t first_pixel,
                  int64_t end_pixel);

/* Elements first to end - 1: dy where x is above 0 and not limit or more, else 0; dx may be dy, limit NaN for none. */
void fc_gate(const fc_kernels *kernels, fc_dtype dtype, const void *dy, const void *x, double limit, int64_t first,
             int64_t end, void *dx);

#endif
