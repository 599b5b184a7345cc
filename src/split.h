/* How a forward convolution is cut into tasks: regions of output pixels and channels. */
#ifndef FC_SPLIT_H
#define FC_SPLIT_H

#include "strip.h"

enum {
    FC_HEADER = 64,   /* bytes at the start of scratch: which filters it holds packed */
    FC_TOGETHER = 28, /* most pixels of the tiles that share a panel while it is in the first cache: 14 KB of windows */
};

/* The kernels of the call's arithmetic type. */
const fc_gemm *fc_arithmetic_of(const fc_forward *call);

/* Columns of a panel of filters, and panels of a group. */
int64_t fc_panel_width(const fc_forward *call);
int64_t fc_panels(const fc_forward *call);

fc_region fc_locate(const fc_forward *call, int64_t task);

#endif
