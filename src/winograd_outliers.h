/* Whether Winograd's minimal filtering is accurate for the outputs of a tile, whatever lies beside their windows.
 *
 * All outputs of a tile round with all of its cells and all taps of a filter: their errors grow with the root mean
 * square of the cells' magnitudes and of the taps'. A direct sum's error grows with the magnitudes of its own products
 * alone. Where a window's products are much smaller than the tile's, as in a shadow or under taps that meet zeros, its
 * tile is summed directly. Magnitudes are estimates: of a pixel, over its channels, each weighted by its filters; of a
 * tap of a filter, over some channels, each divided by the same weight.
 *
 * Outputs of 2 x 2 tiles round with their own windows' cells alone. Where the taps are even, as a mean over all
 * channels, these tiles are not weighed like that. The taps of a single channel are not even, though: a tile that one
 * value of one channel dominates is summed directly, too. */
#ifndef FC_WINOGRAD_OUTLIERS_H
#define FC_WINOGRAD_OUTLIERS_H

#include "winograd_grid.h"

/* What is known of a call's filters. */
typedef struct fc_filter_magnitudes {
    const float *of_channels; /* the mean magnitude of each input channel's filters, as far as looked at */
    const float *of_taps;     /* [tap][column]: of each filter, beside the root mean square of its taps */
    const float *least;       /* [tap]: of all filters */
    int64_t columns;          /* of of_taps: a multiple of 16 */
    float sum_of_least;
    float tiny; /* pixels of smaller magnitude may have differences that are flushed to zero */
} fc_filter_magnitudes;

/* Bytes that fc_weigh_filters needs, and the magnitudes that it leaves there. */
int64_t fc_filter_magnitudes_size(const fc_forward *call);
void fc_weigh_filters(const fc_forward *call, void *memory);
fc_filter_magnitudes fc_filter_magnitudes_at(const fc_forward *call, const void *memory);

/* Whether fc_is_uneven has to look at tiles: outputs round with cells outside their windows, taps are very uneven, or
 * tiles are too wide for fc_find_dominated. */
int fc_tiles_are_weighed(const fc_forward *call, const fc_grid *g, const fc_filter_magnitudes *filters);

/* Else: for each tile of a row, whether one value dominates it, so that its outputs need direct sums. */
void fc_find_dominated(const fc_forward *call, const fc_filter_magnitudes *filters, const fc_tile_row *row,
                       char *uneven);

/* Whether the tile at this place needs direct sums; its pixels' magnitudes lie in rows of so many. */
int fc_is_uneven(const fc_forward *call, const fc_grid *g, const fc_filter_magnitudes *filters, const fc_place *at,
                 const float *magnitudes, int64_t row);

#endif
