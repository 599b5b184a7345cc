/* Groups of few channels: convolutions whose vectors hold the outputs of several groups, as independent tasks. */
#ifndef FC_NARROW_GROUPS_H
#define FC_NARROW_GROUPS_H

#include "forward.h"

/* fc_forward_split and fc_forward_task, where lanes is FC_GROUPS. */
void fc_narrow_groups_split(fc_forward *call, int threads);
void fc_narrow_groups_task(const fc_forward *call, int64_t task, void *scratch);

#endif
