/* The contract of the kernels of Winograd's minimal filtering, in float32 (winograd.inc, magnitudes.inc). */
#ifndef FC_KERNELS_WINOGRAD_H
#define FC_KERNELS_WINOGRAD_H

#include "isa/tuning.h"
#include <stdint.h>

/* At one cell, the products of tiles and panels of filters: tiles in groups of as many as the kernel takes at a time,
 * panels of 1 or 2 vectors of columns. All steps count elements. */
typedef struct fc_products {
    const void *v; /* [block][tile][channel of the block] */
    int64_t groups;
    int64_t v_block; /* from block to block */
    const void *u;   /* [panel][channel][column] */
    int64_t panels;
    int64_t u_panel;         /* from panel to panel */
    int64_t channels, block; /* as in fc_winograd */
    void *m;                 /* [panel][tile][column] */
    int64_t m_panel;         /* from panel to panel */
    int accumulate;          /* 1: add to the products that are there */

    /* Memory that the caller will read next. Each of the first prefetch_groups groups, counted panel by panel,
     * prefetches prefetch_each lines, prefetch_step bytes apart, and begins prefetch_jump bytes after the group before.
     */
    const char *prefetch;
    int64_t prefetch_groups;
    int64_t prefetch_each, prefetch_step;
    int64_t prefetch_jump;
} fc_products;
typedef void fc_products_fn(const fc_products *products);

enum { FC_SUB_KERNEL = 4 /* taps of a sub-kernel along an axis, at most */ };

/* Taps of a sub-kernel along an axis, for tiles of so many outputs. */
static inline int fc_sub_kernel_taps(int outputs) { return outputs == 1 ? 1 : outputs == 3 ? FC_SUB_KERNEL : 3; }

/* Taps of some filters; their columns lie side by side, and the steps to the next channel, row and column count
 * elements. Only `rows` and `columns` of the taps that a transform takes are there; it takes zeros for the others. */
typedef struct fc_taps {
    const void *first;
    int64_t channel, row, column;
    int rows, columns;
} fc_taps;

/* The transforms of one shape of tiles. A tile's cells are counted row by row, and lie `plane` elements apart.
 *
 * Input: transforms the cells of some channels. It writes whole vectors, those of each block of channels `v_block`
 * elements after those of the block before. The output's gradient is transformed in the same way.
 *
 * Filter: transforms the taps of some channels, either 1 vector of columns or some panels of 2 vectors, `panel`
 * elements from panel to panel: [cell][panel][channel][column].
 *
 * Output: transforms the products of a tile to outputs, `row` and `column` elements apart, and tells whether all of
 * them are finite. Sums of products with the output's gradient are transformed to the taps' gradients in the same way.
 */
typedef void fc_winograd_input_fn(const void *const *cells, int64_t channels, int64_t block, void *v, int64_t v_block,
                                  int64_t plane);
typedef void fc_winograd_filter_fn(const fc_taps *taps, int64_t channels, int vectors, void *u, int64_t panel,
                                   int64_t plane);
typedef int fc_winograd_output_fn(const void *m, int64_t plane, int columns, void *y, int64_t row, int64_t column);

/* Measures the magnitudes of some pixels: for each the sum of its channels' absolute values, each times the channel's
 * weight, or the largest of these products times `alone`, whichever is more. */
typedef void fc_magnitudes_fn(const void *const *pixels, int64_t count, const float *weights, int64_t channels,
                              float alone, float *magnitudes);

enum { FC_MEASURED_TILES = FC_MOST_LANES /* tiles of one call, at most */ };

/* The pixels under a row of tiles, as far as they lie in the image: its rows, and its columns from `from` to `end`.
 * Each tile takes `step` columns, and the first `rest` of the next tile's. Steps count elements. */
typedef struct fc_tile_row {
    const float *first; /* the first of these rows, in the first tile's first column, which may lie outside the image */
    int64_t row_step, column_step;
    int64_t rows, from, end;
    int64_t step, rest, tiles;
} fc_tile_row;

/* For each tile, the sum of its pixels' magnitudes, and the largest absolute value of a channel times its weight. */
typedef void fc_tile_magnitudes_fn(const fc_tile_row *row, const float *weights, int64_t channels, float *sums,
                                   float *largest);

/* Adds to each column's sum the absolute values of a matrix in that column, each times its row's factor. */
typedef void fc_add_sizes_fn(const float *matrix, int64_t row, int64_t rows, int64_t columns, const float *factors,
                             float *sums);

/* For each row of a matrix, the sum of its terms times their columns' factors: the least of these sums. The columns are
 * a multiple of 16. */
typedef float fc_least_fn(const float *terms, int64_t columns, int64_t rows, const float *factors);

/* For each of some channels, the exponent of the largest magnitude in these cells. */
typedef void fc_exponents_fn(const void *const *cells, int64_t count, int64_t first, int64_t channels,
                             uint8_t *exponents);

enum { FC_TILE_SHAPES = 16 };

typedef struct fc_winograd_kernels {
    int mr[2];                             /* [halves of a block - 1]: most tiles of a group */
    fc_products_fn *const *products[2][2]; /* [halves - 1][vectors of a panel's columns - 1][tiles of a group - 1] */

    /* [4 * (rows of outputs - 1) + columns of outputs - 1]; null for shapes that fc_winograd does not allow. The first
     * entry, which would be 1 x 1, is 2 x 2 with stride 2. */
    fc_winograd_input_fn *input[FC_TILE_SHAPES];
    fc_winograd_filter_fn *filter[FC_TILE_SHAPES];
    fc_winograd_output_fn *output[FC_TILE_SHAPES];
    fc_winograd_input_fn *gradient[FC_TILE_SHAPES]; /* of the output's gradient */
    fc_winograd_output_fn *taps[FC_TILE_SHAPES];    /* to the taps' gradients */

    fc_magnitudes_fn *magnitudes;
    fc_tile_magnitudes_fn *tile_magnitudes;
    fc_add_sizes_fn *add_sizes;
    fc_least_fn *least;
    fc_exponents_fn *exponents;
} fc_winograd_kernels;

#endif
