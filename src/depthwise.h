/* The depthwise convolution, every channel with filters of its own, as independent tasks of an fc_forward. */
#ifndef FC_DEPTHWISE_H
#define FC_DEPTHWISE_H

#include "forward.h"

/* fc_forward_split and fc_forward_task, where lanes is FC_DEPTHWISE. */
void fc_depthwise_split(fc_forward *call, int threads);
void fc_depthwise_task(const fc_forward *call, int64_t task, void *scratch);

#endif
