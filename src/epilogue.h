/* Bias and activation, of sums while they are in the cache, or of tensors that are finished but for these. */
#ifndef FC_EPILOGUE_H
#define FC_EPILOGUE_H

#include "method.h"

/* The epilogue of finished sums, [pixel][channel], from output channel `channel` of the call on. */
void fc_finish(const fc_forward *call, int64_t channel, void *sums, int64_t pixels, int64_t channels, int64_t stride);

/* The same of [channel][pixel]. */
void fc_finish_planes(const fc_forward *call, int64_t channel, void *sums, int64_t channels, int64_t pixels,
                      int64_t stride);

/* A finished tensor's epilogue, or an activation by itself, as independent tasks: fc_finishing_split once, then
 * fc_finishing_task for each. */
typedef struct fc_finishing {
    /* set by the caller */
    const fc_kernels *kernels;
    fc_dtype dtype; /* the half precisions are computed in float32, and so are their biases */
    fc_epilogue epilogue;
    int64_t biases;            /* rows take them in turn, if they are of rows */
    int64_t elements, columns; /* dense rows of so many */
    const void *source;        /* may be the result */
    void *result;

    /* set by fc_finishing_split */
    int64_t rows, tasks; /* rows a task */
} fc_finishing;

void fc_finishing_split(fc_finishing *call);
void fc_finishing_task(const fc_finishing *call, int64_t task);

#endif
