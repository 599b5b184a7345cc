/* Filters packed into panels of output channels, as tiles of pixels read them. */
#ifndef FC_PANELS_H
#define FC_PANELS_H

#include "blocks.h"
#include "strip.h"

/* Columns of a panel of filters, and panels of a group. */
int64_t fc_panel_width(const fc_forward *call);
int64_t fc_panels(const fc_forward *call);

/* Whether all terms of a filter lie at one distance. */
int fc_evenly_spaced(const fc_forward *call);

/* Whether tiles read a panel of this many columns where the caller has it. */
int fc_unpacked(const fc_forward *call, int64_t columns);

/* Packs a range of the sum for the region's channels, [panel][term][column]; panels that are read where the caller has
 * them keep their place. `filters` begin with the region's first channel. */
void fc_pack_range(const fc_forward *call, const fc_region *region, const char *filters, const fc_block *range,
                   char *packed);

/* All filters packed for several calls, a group a task; and how many bytes that takes. */
int64_t fc_bank_size(const fc_forward *call);
int64_t fc_bank_tasks(const fc_forward *call);
void fc_pack_bank(const fc_forward *call, int64_t task, void *packed);

/* Where a group's panels begin in fc_forward.packed: as fc_pack_range packs the whole sum for all of its channels. */
const char *fc_packed_group(const fc_forward *call, int64_t group);

#endif
