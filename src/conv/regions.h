/* Outputs cut into regions, a task each: rectangles of output pixels by ranges of panels of output channels. */
#ifndef FC_CONV_REGIONS_H
#define FC_CONV_REGIONS_H

#include "conv/method.h"

/* What a method says of its regions. */
typedef struct fc_region_rules {
    fc_regions
        *regions; /* in the call's split; images, row_tasks, column_tasks, panels and panel_width are set already */
    int64_t most_sums; /* bytes of a region's sums in scratch */

    /* Whether sums are built in y; null: never. */
    int (*in_place)(const fc_forward *call);

    /* Sets what regions of at most so many rows and columns of pixels, and output channels, take: pixels, staging and
     * sums_bytes of the regions, and the call's scratch_bytes. */
    void (*measure)(fc_forward *call, int64_t rows, int64_t columns, int64_t channels);

    /* Whether a region's filters, of so many panels, are packed all at once; null: there is one panel. */
    int (*packs_once)(const fc_forward *call, int64_t panels);
} fc_region_rules;

/* Cuts the outputs into regions, as many as keep the threads busy, and sets the call's tasks. */
void fc_cut_regions(fc_forward *call, const fc_region_rules *rules, int threads);

/* Rows of outputs that regions are cut from: of an image, or of all. */
int64_t fc_region_rows(const fc_forward *call, const fc_regions *regions);

/* The region of a task. */
fc_region fc_locate(const fc_forward *call, const fc_regions *regions, int64_t task);

/* Whether y's pixels lie side by side, with dense channels. */
int fc_is_dense(const fc_forward *call);

/* Where a region's outputs lie in such a y of the accumulator's type. */
void *fc_region_in_place(const fc_forward *call, const fc_region *region);

/* Converts or transposes a region's sums, dense [pixel][channel], into y. */
void fc_store_region(const fc_forward *call, const fc_region *region, const void *sums);

#endif
