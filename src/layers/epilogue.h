/* An epilogue applied to a whole tensor, or an activation by itself, as independent tasks: fc_epilogue_pass_split once,
 * then fc_epilogue_pass_task for each. */
#ifndef FC_LAYERS_EPILOGUE_H
#define FC_LAYERS_EPILOGUE_H

#include "kernels/kernels.h"

typedef struct fc_epilogue_pass {
    /* set by the caller */
    const fc_kernels *kernels;
    fc_dtype dtype; /* half precisions are computed in float32, and so are their biases */
    fc_epilogue epilogue;
    int64_t biases;            /* where they are of rows, the rows take them in turn */
    int64_t elements, columns; /* dense rows of so many columns */
    const void *source;        /* may be the result */
    void *result;

    /* set by fc_epilogue_pass_split */
    int64_t rows; /* of a task */
    int64_t tasks;
} fc_epilogue_pass;

void fc_epilogue_pass_split(fc_epilogue_pass *call);
void fc_epilogue_pass_task(const fc_epilogue_pass *call, int64_t task);

#endif
