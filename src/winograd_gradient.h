/* The gradient of the filters by Winograd's minimal filtering, for fc_backprop_filter, whose tasks these are. */
#ifndef FC_WINOGRAD_GRADIENT_H
#define FC_WINOGRAD_GRADIENT_H

#include "backprop_filter.h"

/* Most terms or columns of a task, but for 16 channels of many pieces, which take fewer columns: with 36 cells, the
 * sums take 2.4 MB. All of them share their transformed tiles. */
enum { FC_RANGE = 128 };

void fc_winograd_gradient_split(fc_backprop_filter *call, int threads);
void fc_winograd_gradient_task(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial);

fc_verdict fc_winograd_gradient_verdict(const fc_backprop_filter *call, void *partial);

#endif
