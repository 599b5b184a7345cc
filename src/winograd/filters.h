/* Filters transformed for Winograd's minimal filtering: [cell][panel][channel][column] of some panels and channels.
 *
 * A filter is a sum of sub-kernels of 1, 3 or 4 taps along an axis. Channels count on through the sub-kernels. */
#ifndef FC_WINOGRAD_FILTERS_H
#define FC_WINOGRAD_FILTERS_H

#include "conv/method.h"

enum {
    FC_BUNDLE =
        64, /* columns that are transformed at a time; memory delivers whole lines, and more of these than one */
};

/* Where they are, and the steps from panel to panel and from cell to cell, in elements. */
typedef struct fc_transformed {
    float *u;
    int64_t panel, plane;
} fc_transformed;

/* Elements from the first filter's first tap to a sub-kernel's first tap, of an input channel and a column. */
int64_t fc_filter_offset(const fc_filters *w, const fc_sub_kernel *one, int64_t channel, int64_t column);

/* The step from cell to cell, of so many columns and channels: a line lies between them. */
int64_t fc_filter_plane(int64_t columns, int64_t channels);

/* Some panels of output channels, and some input channels of one sub-kernel, which count on through the sub-kernels. */
typedef struct fc_filter_part {
    int64_t panel, panels, first, channels;
} fc_filter_part;

/* Transforms the filters of a part. They are written from the bank's channel `at` on. */
void fc_transform_panels(const fc_forward *call, const fc_filter_part *part, const fc_transformed *to, int64_t at);

/* All filters transformed before a call's other tasks, or for several calls; how many tasks and bytes that takes. */
int64_t fc_transformed_size(const fc_forward *call);
int64_t fc_transform_tasks(const fc_forward *call);
void fc_transform_filters(const fc_forward *call, int64_t task, void *transformed);

/* The bank that begins with this panel, among all filters as fc_transform_filters left them. */
fc_transformed fc_transformed_from(const fc_forward *call, const void *packed, int64_t panel);

#endif
