/* Filters transformed for Winograd's minimal filtering: [cell][panel][channel][column] of some panels and channels.
 *
 * A filter is a sum of pieces of 1, 3 or 4 taps along an axis: their channels count on through the pieces. */
#ifndef FC_WINOGRAD_FILTERS_H
#define FC_WINOGRAD_FILTERS_H

#include "method.h"

enum {
    FC_WIDEST = 15, /* taps of a filter, along an axis, at most */
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

/* Pixels that the windows of so many outputs cover, along an axis; those of a piece are a tile's cells. */
static inline int64_t fc_reach(int64_t outputs, int64_t stride, int64_t taps) { return (outputs - 1) * stride + taps; }

/* How filters are cut into pieces. */
typedef struct fc_pieces {
    int64_t rows, columns; /* taps of one, but for the last ones */
    int64_t wide, count;
    int64_t cells_high, cells_wide; /* of a tile, as one meets it */
} fc_pieces;
fc_pieces fc_pieces_of(const fc_forward *call);

/* One of them: its first tap, and the taps inside the filter. */
typedef struct fc_piece {
    int64_t row, column, rows, columns;
} fc_piece;
fc_piece fc_piece_at(const fc_forward *call, int64_t index);

/* Elements from the filters' first one to a piece's first tap, of an input channel and a column. */
int64_t fc_filter_offset(const fc_filters *w, const fc_piece *piece, int64_t channel, int64_t column);

/* From cell to cell, of so many columns and channels: a line lies between them. */
int64_t fc_filter_plane(int64_t columns, int64_t channels);

/* Transforms the filters of some channels of one piece, `first` and the next, of some panels; `at` of the bank's
 * channels is the first to be written. */
void fc_transform_panels(const fc_forward *call, int64_t panel, int64_t panels, int64_t first, int64_t channels,
                         const fc_bank *to, int64_t at);

/* All filters transformed for several calls, in tasks, and how many bytes that takes. */
int64_t fc_transformed_size(const fc_forward *call);
int64_t fc_transform_tasks(const fc_forward *call);
void fc_transform_filters(const fc_forward *call, int64_t task, void *transformed);

/* Of all filters, as fc_transform_filters left them, those from this panel on. */
fc_bank fc_packed_bank(const fc_forward *call, const void *packed, int64_t panel);

#endif
