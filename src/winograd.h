/* Winograd's minimal filtering, as independent tasks of an fc_forward. */
#ifndef FC_WINOGRAD_H
#define FC_WINOGRAD_H

#include "forward.h"

/* fc_forward_split and fc_forward_task, where lanes is FC_WINOGRAD. */
void fc_winograd_split(fc_forward *call, int threads);
void fc_winograd_task(const fc_forward *call, int64_t task, void *scratch);

/* fc_packed_size, fc_pack_tasks and fc_pack, there. */
int64_t fc_transformed_size(const fc_forward *call);
int64_t fc_transform_tasks(const fc_forward *call);
void fc_transform_filters(const fc_forward *call, int64_t task, void *transformed);

#endif
