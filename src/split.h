/* How a forward convolution is cut into tasks: regions of output pixels and channels. */
#ifndef FC_SPLIT_H
#define FC_SPLIT_H

#include "strip.h"

enum {
    FC_HEADER = 64, /* bytes at the start of scratch: an fc_held */
    FC_TASKS = 4,   /* a thread, for all to end together though one is interrupted */
};

/* What of a call a thread's scratch holds for its next task, if any: packed filters from this channel on or, in
 * Winograd's, this range of tiles, transformed. */
typedef struct fc_held {
    const fc_forward *call;
    int64_t index;
} fc_held;

/* The kernels of the call's arithmetic type. */
const fc_gemm *fc_arithmetic_of(const fc_forward *call);

/* Columns of a panel of filters, and panels of a group. */
int64_t fc_panel_width(const fc_forward *call);
int64_t fc_panels(const fc_forward *call);

/* A call of any method becomes one of direct sums, of small regions of one panel's channels at most: fc_direct_sums. */
void fc_direct_split(fc_forward *call, int64_t rows, int64_t columns);

/* The sums of a region, [pixel][channel], before the epilogue; in the call's floating-point mode. */
void fc_direct_sums(const fc_forward *call, const fc_region *region, void *scratch, void *sums);

fc_region fc_locate(const fc_forward *call, int64_t task);

#endif
