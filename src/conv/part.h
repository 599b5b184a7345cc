/* A part of a convolution: which rows and columns of the tensors and which taps it has. */
#ifndef FC_CONV_PART_H
#define FC_CONV_PART_H

#include "conv/method.h"

/* Field for field what follows the problem in the planner's Part (fastconv/_parts.py). */
typedef struct fc_part {
    int64_t x_row, x_column, y_row, y_column;            /* where it begins, in both tensors */
    int64_t y_step_h, y_step_w;                          /* between its outputs */
    int64_t tap_row, tap_column, tap_step_h, tap_step_w; /* its first tap, and the steps between its taps */
    int64_t group;                                       /* whose channels and filters it has, if it is of one group */
} fc_part;

/* Sets the call's number of images, tensors and filters to those of its part of a convolution from x to y with filters
 * w. The call has its problem already. */
static inline void fc_place_part(fc_forward *call, const fc_part *part, int64_t n, const fc_tensor *x,
                                 const fc_tensor *y, const fc_filters *w) {
    const int64_t size = fc_dtype_size(x->dtype);
    const int64_t x_at =
        part->x_row * x->stride_h + part->x_column * x->stride_w + part->group * call->problem.c * x->stride_c;
    const int64_t y_at =
        part->y_row * y->stride_h + part->y_column * y->stride_w + part->group * call->problem.f * y->stride_c;
    const int64_t w_at = part->tap_row * w->h + part->tap_column * w->w + part->group * w->group;
    call->problem.n = n;
    call->x = *x;
    call->x.data = (char *)x->data + x_at * size;
    call->y = *y;
    call->y.data = (char *)y->data + y_at * size;
    call->y.stride_h *= part->y_step_h;
    call->y.stride_w *= part->y_step_w;
    call->w = *w;
    call->w.data = (const char *)w->data + w_at * size;
    call->w.h *= part->tap_step_h;
    call->w.w *= part->tap_step_w;
}

#endif
