/* Local response normalization and gradients of activations, as independent tasks: a split once, then each task. */
#ifndef FC_LAYERS_ELEMENTWISE_H
#define FC_LAYERS_ELEMENTWISE_H

#include "kernels/kernels.h"

typedef struct fc_normalization_call {
    /* set by the caller */
    const fc_kernels *kernels;
    fc_dtype dtype; /* FC_F32 or FC_F64 */
    fc_normalization operands;
    int64_t pixels;

    /* set by fc_normalization_split */
    int64_t each; /* pixels of a task */
    int64_t tasks;
} fc_normalization_call;

void fc_normalization_split(fc_normalization_call *call);
void fc_normalization_task(const fc_normalization_call *call, int64_t task);

typedef struct fc_activation_grad {
    /* set by the caller */
    const fc_kernels *kernels;
    fc_dtype dtype; /* floating; half precisions are computed in float32 */
    fc_activation activation;
    double parameter;   /* as fc_activation_grad_fn has it */
    const void *dy, *x; /* dense */
    void *dx;           /* may be dy or x */
    int64_t count;      /* elements of each */

    /* set by fc_activation_grad_split */
    int64_t each; /* elements of a task */
    int64_t tasks;
} fc_activation_grad;

void fc_activation_grad_split(fc_activation_grad *call);
void fc_activation_grad_task(const fc_activation_grad *call, int64_t task);

#endif
