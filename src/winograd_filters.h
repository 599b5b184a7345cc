/* Filters transformed for Winograd's minimal filtering: [cell][panel][channel][column] of some panels and channels. */
#ifndef FC_WINOGRAD_FILTERS_H
#define FC_WINOGRAD_FILTERS_H

#include "forward.h"

enum {
    FC_SIDE = 3,    /* taps along an axis */
    FC_LINE = 16,   /* floats of a cache line */
    FC_BUNDLE = 64, /* columns that are transformed at a time: of shorter rows, most of what memory delivers would be
                       other panels' */
};

/* Where they are, and how many elements it is from panel to panel and from cell to cell. */
typedef struct fc_bank {
    float *u;
    int64_t panel, plane;
} fc_bank;

/* The index of the call's transforms in fc_winograd_kernels. */
int fc_winograd_rung(const fc_forward *call);

/* Cells that so many outputs, this stride apart, take along an axis. */
int64_t fc_winograd_cells(int64_t outputs, int64_t stride);

/* From cell to cell, of so many columns and channels: a line lies between them. */
int64_t fc_filter_plane(int64_t columns, int64_t channels);

/* Transforms the filters of some channels, `first` and the next, of some panels; `at` of the bank's channels is the
 * first to be written. */
void fc_transform_panels(const fc_forward *call, int64_t panel, int64_t panels, int64_t first, int64_t channels,
                         const fc_bank *to, int64_t at);

/* Of all filters, as fc_transform_filters left them, those from this panel on. */
fc_bank fc_packed_bank(const fc_forward *call, const void *packed, int64_t panel);

#endif
