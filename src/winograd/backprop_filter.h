/* The gradient of filters by Winograd's minimal filtering. */
#ifndef FC_WINOGRAD_BACKPROP_FILTER_H
#define FC_WINOGRAD_BACKPROP_FILTER_H

#include "conv/filter_method.h"

/* Most terms or columns of a task, but for 16 channels of many sub-kernels, which take fewer columns: with 36 cells,
 * the sums take 2.4 MB. All of them share their transformed tiles. */
enum { FC_RANGE = 128 };

extern const fc_filter_method fc_winograd_filter_method;

#endif
