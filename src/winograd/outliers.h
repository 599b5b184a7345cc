/* The outlier check: whether Winograd's minimal filtering is accurate for the outputs of a tile, whatever lies beside
 * their windows.
 *
 * All outputs of a tile round with all of its cells and all taps of a filter: their errors grow with the root mean
 * square of the cells' magnitudes and of the taps'. A direct sum's error grows with the magnitudes of its own products
 * alone. Where a window's products are much smaller than the tile's, as in a shadow or under taps that meet zeros, its
 * tile is summed directly. Magnitudes are estimates: of a pixel, over its channels, each weighted by its filters; of a
 * tap of a filter, over some channels, each divided by the same weight.
 *
 * Outputs of 2 x 2 tiles round with their own windows' cells alone. If no tap is much smaller than the others, as a
 * mean over all channels, these tiles are not checked like that. The taps of a single channel may differ, though: a
 * tile that one value of one channel dominates is summed directly, too. */
#ifndef FC_WINOGRAD_OUTLIERS_H
#define FC_WINOGRAD_OUTLIERS_H

#include "conv/method.h"

/* What is known of a call's filters. */
typedef struct fc_filter_magnitudes {
    const float *of_channels; /* the mean magnitude of each input channel's filters, as far as looked at */
    const float *of_taps;     /* [tap][column]: of each filter, in units of the root mean square of its taps */
    const float *least;       /* [tap]: of all filters */
    int64_t columns;          /* of of_taps: a multiple of 16 */
    float sum_of_least;
    float tiny; /* pixels of smaller magnitude may have differences that are flushed to zero */
} fc_filter_magnitudes;

/* Bytes that fc_measure_filters needs, and the magnitudes that it leaves there. */
int64_t fc_filter_magnitudes_size(const fc_forward *call);
void fc_measure_filters(const fc_forward *call, void *memory);
fc_filter_magnitudes fc_filter_magnitudes_at(const fc_forward *call, const void *memory);

/* Whether fc_has_outlier is to check tiles: where outputs round with cells outside their windows, where some tap is
 * much smaller than the others, or where tiles are too wide for fc_find_dominated. */
int fc_checks_tiles(const fc_problem *p, const fc_grid *g, const fc_filter_magnitudes *filters);

/* Where it is not: for each tile of a row, whether one value dominates it. */
void fc_find_dominated(const fc_kernels *kernels, const fc_filter_magnitudes *filters, const fc_tile_row *row,
                       int64_t channels, char *outliers);

/* The magnitudes of the pixels from a tile's first one on, in rows of so many. */
typedef struct fc_window_magnitudes {
    const float *first;
    int64_t row;
} fc_window_magnitudes;

/* Whether the tile at this place needs direct sums. */
int fc_has_outlier(const fc_kernels *kernels, const fc_problem *p, const fc_grid *g,
                   const fc_filter_magnitudes *filters, const fc_place *at, const fc_window_magnitudes *pixels);

#endif
