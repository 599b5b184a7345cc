/* Outputs cut into regions, a task each: rectangles of output pixels by ranges of panels of output channels. */
#ifndef FC_REGIONS_H
#define FC_REGIONS_H

#include "strip.h"

/* What a method tells of its regions. Before it has them cut, it sets the call's direct, images, row_tasks,
 * column_tasks, panels and panel. */
typedef struct fc_region_rules {
    int64_t most_sums;                       /* bytes of a region's sums in scratch */
    int (*in_place)(const fc_forward *call); /* whether sums are built in y */
    /* Sets what regions of at most so many rows and columns of pixels, and output channels, take; where there are
     * several panels, ranges and columns_at_once, too. */
    void (*measure)(fc_forward *call, int64_t rows, int64_t columns, int64_t channels);
} fc_region_rules;

/* Cuts the outputs into regions, as many as keep the threads busy. */
void fc_cut_regions(fc_forward *call, const fc_region_rules *rules, int threads);

/* Rows of outputs that regions are cut from: of an image, or of all. */
int64_t fc_region_rows(const fc_forward *call);

/* The region of a task. */
fc_region fc_locate(const fc_forward *call, int64_t task);

/* Whether y's pixels lie side by side, with dense channels. */
int fc_is_dense(const fc_forward *call);

/* Where a region's outputs lie in such a y of the arithmetic type. */
void *fc_region_in_place(const fc_forward *call, const fc_region *region);

/* Converts or transposes a region's finished sums, [pixel][channel], into y; `stride` elements from pixel to pixel. */
void fc_store_region(const fc_forward *call, const fc_region *region, const void *sums, int64_t stride);

#endif
