/* Filters packed into panels of output channels, as the matrix micro-kernel reads them. */
#ifndef FC_LAYOUT_FILTER_PANELS_H
#define FC_LAYOUT_FILTER_PANELS_H

#include "base/blocks.h"
#include "conv/method.h"

/* Whether all terms of a filter lie at one distance. */
int fc_evenly_spaced(const fc_forward *call);

/* Whether regions of so many pixels at most are faster if they read panels of whole vectors where the caller has them.
 * Then all regions of a call do, though one may have a tile less than another: a thread keeps what it packed from
 * region to region. */
int fc_reads_unpacked(const fc_forward *call, int64_t pixels);

/* Packs a range of the sum for the region's channels, [panel][term][column]. Where `unpacked`, panels of whole vectors
 * are left out, but keep their place. `filters` is where the region's first filter begins. */
void fc_pack_range(const fc_forward *call, int unpacked, const fc_region *region, const char *filters,
                   const fc_block *range, char *packed);

/* All filters packed for several calls, a group a task, and how many bytes that takes. */
int64_t fc_packed_filters_size(const fc_forward *call);
int64_t fc_packed_filters_tasks(const fc_forward *call);
void fc_pack_filters(const fc_forward *call, int64_t task, void *packed);

/* Where a group's panels begin in what fc_pack_filters packed: as fc_pack_range packs the whole sum for all its
 * channels.
 */
const char *fc_packed_group(const fc_forward *call, const void *packed, int64_t group);

#endif
