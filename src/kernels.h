/* The function pointers and tile sizes of one instruction set. */
#ifndef FC_KERNELS_H
#define FC_KERNELS_H

#include "problem.h"

/* Some register tiles, one below the other: each, rows x columns outputs, gets its sum (kernels/gemm.inc). Its terms
 * are those of some runs, in order; a block of them is block_runs whole runs or, where chunk is less than run_length,
 * chunk terms of one. Without any terms, the sum is one block of +0. */
typedef struct fc_tiles {
    int64_t count;
    const void *const *runs; /* runs[(tile * run_count + r) * rows + m]: the first term of run r for pixel m */
    int64_t run_count, run_length;
    int64_t block_runs, chunk;
    int64_t step;           /* elements from a pixel's term to its next */
    const void *filters;    /* [term][column]: the fewest whole vectors, 1 or 2, that hold the columns are read */
    int64_t filters_stride; /* elements from term to term */
    int64_t filters_skip;   /* elements passed over after a run; 0 where runs are cut into chunks */
    void *sums;             /* the first tile's first output; pixels are sums_stride elements apart */
    int64_t sums_stride;
    int columns;
    int accumulate;    /* add to what is there */
    const char *ahead; /* memory wanted soon: for a term one line is prefetched, ahead_step bytes after the last, */
    int64_t ahead_step, ahead_jump, ahead_tiles; /* from tile to tile ahead_jump, for so many tiles */
} fc_tiles;
typedef void fc_gemm_fn(const fc_tiles *tiles);

/* Packs `terms` rows of filters, each `columns` wide and `stride` elements apart, into panels of `width` columns, whole
 * vectors, `panel` elements apart: [panel][term][width]. What the last panel has more than the columns becomes zeros.
 */
typedef void fc_pack_fn(const void *filters, int64_t stride, int64_t terms, int64_t columns, int width, void *packed,
                        int64_t panel);

/* to[c * to_stride + r] = from[r * from_stride + c], for 4-byte elements. */
typedef void fc_transpose_fn(const void *from, int64_t from_stride, int64_t rows, int64_t columns, void *to,
                             int64_t to_stride);

/* to[pixel][d][i] = from[pixel * stride + i / times * depth + d], for 4-byte elements and the i of one vector: times
 * divides its lanes, and depth is not more. */
typedef void fc_repeat_fn(const void *from, int64_t stride, int64_t pixels, int depth, int times, void *to);

/* Converts `count` consecutive elements. */
typedef void fc_convert_fn(const void *from, void *to, int64_t count);

/* One row of depthwise outputs (kernels/depthwise.inc); all steps and strides count elements. */
typedef struct fc_depthwise_row {
    const void *x; /* the first output's first tap; its channels lie side by side */
    const void *w; /* that tap's filters */
    void *y;
    int64_t rows, columns;           /* taps */
    int64_t x_row, x_column, x_step; /* from tap to tap, and from output to output */
    int64_t w_row, w_column;
    int64_t y_step;
    int64_t outputs, channels;
    int64_t first_block, block_rows; /* rows of taps in the first block of the sum, and in each other */
} fc_depthwise_row;
typedef void fc_depthwise_fn(const fc_depthwise_row *row);

/* A rectangle of outputs, all of which meet `taps` neighbouring taps of one filter row: adds the sum over them of input
 * times output gradient to the taps' gradients. All steps and strides count elements. */
typedef struct fc_depthwise_gradient {
    const void *x; /* what the first output's first tap meets; its channels lie side by side */
    const void *y; /* the first output's gradient */
    void *w;       /* the first tap's gradient */
    int64_t rows, columns, taps;
    int64_t x_row, x_step, x_column; /* from output to output, and from tap to tap */
    int64_t y_row, y_step;
    int64_t w_column;
    int64_t channels;
} fc_depthwise_gradient;
typedef void fc_depthwise_gradient_fn(const fc_depthwise_gradient *rectangle);

/* Adds to each of `count` pixels' `channels` sums, in order, the products of `taps` taps: those of the next pixel lie
 * `pixel` elements further, those of the next tap by `channels` more. */
typedef void fc_add_taps_fn(const void *products, int64_t pixel, int taps, int channels, int64_t count, void *sums);

/* Adds `count` values to as many sums. */
typedef void fc_add_sums_fn(const void *values, int64_t count, void *sums);

/* The same, and adds to `rests` what rounding took from the sums, where that is finite. */
typedef void fc_add_compensated_fn(const void *values, int64_t count, void *sums, void *rests);

/* Winograd's minimal filtering (kernels/winograd.inc). At one cell, tiles times panels of filters: tiles in groups of
 * as many as the kernel takes at a time, panels of 1 or 2 vectors of columns. All steps count elements. */
typedef struct fc_products {
    const void *v; /* [block][tile][channel of the block] */
    int64_t groups;
    int64_t v_block; /* from block to block */
    const void *u;   /* [panel][channel][column] */
    int64_t panels;
    int64_t u_panel;         /* from panel to panel */
    int64_t channels, block; /* as in fc_winograd */
    void *m;                 /* [panel][tile][column] */
    int64_t m_panel;
    int accumulate;    /* add to what is there */
    const char *ahead; /* memory wanted soon: each of the first ahead_groups, panel by panel, prefetches some lines */
    int64_t ahead_groups;
    int64_t ahead_each, ahead_step; /* so many, and so many bytes apart */
    int64_t ahead_jump;             /* bytes from group to group */
} fc_products;
typedef void fc_products_fn(const fc_products *products);

/* Taps of a piece of a filter, along an axis, for tiles of so many outputs; and the most that there are. */
enum { FC_PIECE = 4 };
static inline int fc_piece_taps(int outputs) { return outputs == 1 ? 1 : outputs == 3 ? FC_PIECE : 3; }

/* Taps of some filters, columns side by side; the steps to the next channel, row and column count elements. Of the taps
 * that a transform takes, only so many rows and columns are there; the others are zeros. */
typedef struct fc_taps {
    const void *first;
    int64_t channel, row, column;
    int rows, columns;
} fc_taps;

/* The transforms of one tile shape; cells of a tile, in rows, are `plane` elements apart. Of the input's cells, of some
 * channels: whole vectors are written, of each block `v_block` elements after those of the block before. Of the taps of
 * some channels, along an axis 3, of 3 outputs 4, of 1 output 1, and 1 vector of columns or some panels of 2:
 * [cell][panel][channel][column], `panel` elements from panel to panel. Of the products of a tile: outputs `row` and
 * `column` elements apart; whether all of them are finite.
 *
 * Transposed, for the gradient of the filters: of the outputs' gradients, like the input's cells; and of the sums of
 * products with these, for some columns: the taps' gradients, like outputs. */
typedef void fc_winograd_input_fn(const void *const *cells, int64_t channels, int64_t block, void *v, int64_t v_block,
                                  int64_t plane);
typedef void fc_winograd_filter_fn(const fc_taps *taps, int64_t channels, int vectors, void *u, int64_t panel,
                                   int64_t plane);
typedef int fc_winograd_output_fn(const void *m, int64_t plane, int columns, void *y, int64_t row, int64_t column);

/* The magnitudes of some pixels: sums of their channels' absolute values, each times the channel's weight, or the
 * largest of these times `alone`. */
typedef void fc_magnitudes_fn(const void *const *pixels, int64_t count, const float *weights, int64_t channels,
                              float alone, float *magnitudes);

/* The pixels under a row of tiles, as far as they lie in the image: its rows, and columns from `from` to `end`. Each
 * tile takes `step` columns and the first `rest` of the next one's. Steps count elements. */
enum { FC_WEIGHED_TILES = 16 /* at most: as many as a vector has lanes */ };
typedef struct fc_tile_row {
    const float *first; /* the first of these rows, in the first tile's first column, which may lie outside the image */
    int64_t row_step, column_step;
    int64_t rows, from, end;
    int64_t step, rest, tiles;
} fc_tile_row;

/* For each tile, the sum of its pixels' magnitudes, and the largest absolute value of a channel times its weight. */
typedef void fc_tile_magnitudes_fn(const fc_tile_row *row, const float *weights, int64_t channels, float *sums,
                                   float *largest);

/* Adds to each column's sum the absolute values in it of a matrix, times their row's factor. */
typedef void fc_add_sizes_fn(const float *matrix, int64_t row, int64_t rows, int64_t columns, const float *factors,
                             float *sums);

/* The least of the sums, over the rows of a matrix of so many columns, of each column's terms times their factors. */
typedef float fc_least_fn(const float *terms, int64_t columns, int64_t rows, const float *factors);

/* For each of some channels, the exponent of the largest magnitude in these cells. */
typedef void fc_exponents_fn(const void *const *cells, int64_t count, int64_t first, int64_t channels,
                             uint8_t *exponents);

typedef struct fc_winograd_kernels {
    int rows[2];                           /* [halves of a block - 1]: most tiles of a group */
    fc_products_fn *const *products[2][2]; /* [halves - 1][vectors of a panel's columns - 1][tiles of a group - 1] */
    /* [4 * (rows of outputs - 1) + columns of outputs - 1], null for shapes that fc_winograd does not allow; the first
     * are for 2 x 2 with stride 2 */
    fc_winograd_input_fn *input[16];
    fc_winograd_filter_fn *filter[16];
    fc_winograd_output_fn *output[16];
    fc_winograd_input_fn *gradient[16];
    fc_winograd_output_fn *taps[16];
    fc_magnitudes_fn *magnitudes;
    fc_tile_magnitudes_fn *tile_magnitudes;
    fc_add_sizes_fn *add_sizes;
    fc_least_fn *least; /* of columns that are a multiple of 16 */
    fc_exponents_fn *exponents;
} fc_winograd_kernels;

/* Rows of outputs of a filter for images of few channels (kernels/image_filter.inc); steps count elements. */
enum { FC_IMAGE_ROWS = 4 /* at a time */ };
typedef struct fc_image_rows {
    const void *x;      /* what the first tap of the first output meets; columns lie side by side */
    int64_t planes;     /* channels, */
    int64_t plane;      /* from each to the next */
    const void *w;      /* [row of taps][column of taps][channel] */
    void *y;            /* the first output */
    int64_t rows;       /* of outputs: FC_IMAGE_ROWS, each a tap_row below the one before, or 1 */
    int64_t columns;    /* of outputs; x is read up to whole pairs of vectors */
    int64_t taps;       /* of a row of taps */
    int64_t first, end; /* rows of taps inside the image */
    int64_t block;      /* rows of taps in a block of the sum */
    int64_t tap_row, y_row;
} fc_image_rows;
typedef void fc_image_rows_fn(const fc_image_rows *rows);

/* Neighbouring taps of such a filter, of one channel and some outputs: adds the sums over a rectangle of outputs of
 * input times output gradient. Each sum is dealt out along the rows to as many lanes, which are then added in a tree.
 * Steps count elements. */
enum { FC_IMAGE_LANES = 16, FC_IMAGE_TAPS = 3 /* at most */, FC_IMAGE_OUTPUTS = 2 /* at most */ };
typedef struct fc_image_gradient {
    const void *x;         /* what the first output's first tap meets; columns lie side by side */
    const void *y;         /* the first output's gradient; so do these */
    int64_t rows, columns; /* of outputs */
    int64_t x_row, y_row, y_plane;
    int taps, outputs;
    void *sums;  /* of the first tap, outputs side by side, */
    int64_t tap; /* from each to the next */
} fc_image_gradient;
typedef void fc_image_gradient_fn(const fc_image_gradient *gradient);

typedef enum fc_activation {
    FC_LINEAR,
    FC_RELU,
    FC_RELU6,
    FC_LEAKY_RELU,
    FC_SILU,
    FC_HARD_SWISH,
    FC_SIGMOID,
    FC_TANH,
    FC_GELU,     /* not in an epilogue of the public interface: */
    FC_GELU_TANH /* fastconv.nn.gelu, exact and approximate */
} fc_activation;

/* What follows the sums: each gets a bias, if there are any, and then the activation. */
typedef struct fc_epilogue {
    const void *bias; /* of the arithmetic type, one for each column; null: none */
    int bias_of_rows; /* one for each row instead */
    fc_activation activation;
    double slope; /* of FC_LEAKY_RELU below 0 */
} fc_epilogue;

/* In place, for `rows` rows of `columns` elements, `stride` apart. */
typedef void fc_finish_fn(const fc_epilogue *epilogue, void *elements, int64_t rows, int64_t columns, int64_t stride);

/* One window of a pool, cut to the image; all steps count elements, channels lie side by side. */
typedef struct fc_pool_window {
    int average; /* else the largest */
    const void *x;
    void *y;                        /* of the pool; not used by its gradient */
    int64_t *places;                /* of the first of the largest cells; null: not wanted */
    int64_t first_place, place_row; /* that of the window's first cell, and from row to row */
    int64_t rows, columns, channels;
    int64_t x_row, x_column;
    const void *dy; /* the gradient of the window's result, */
    void *dx;       /* and that of its cells, to which it is added */
    int64_t dx_row, dx_column;
} fc_pool_window;
typedef void fc_pool_fn(const fc_pool_window *window);

/* Local response normalisation of pixels of dense channels, or its gradient if there is a dy. */
enum { FC_NORMALIZED = 256 /* channels at a time */, FC_NORMALIZATION_RADIUS = 64 /* at most */ };
typedef struct fc_normalization {
    const void *x, *y, *dy;
    void *result;
    int64_t channels, radius;
    double bias, alpha, beta;
} fc_normalization;
typedef void fc_normalize_fn(const fc_normalization *call, int64_t first_pixel, int64_t end_pixel);

/* dx becomes dy times the derivative of an activation at x: of relu up to the limit `parameter` (NaN: without), of silu
 * with that steepness, of gelu or gelu_tanh. dx may be dy or x. */
typedef void fc_activation_grad_fn(fc_activation activation, double parameter, const void *dy, const void *x,
                                   int64_t count, void *dx);

/* The kernels of one arithmetic type. */
typedef struct fc_gemm {
    int rows;                 /* most pixels in a tile */
    int unpacked_tiles;       /* as many tiles, or fewer, read filters faster where they lie than packed */
    int lanes;                /* elements in a vector */
    int size;                 /* bytes in an element */
    fc_gemm_fn *const *tile1; /* tile1[rows - 1]: one vector of columns */
    fc_gemm_fn *const *tile2; /* tile2[rows - 1]: two vectors of columns */
    fc_pack_fn *pack;
    fc_add_taps_fn *add_taps;
    fc_add_sums_fn *add_sums;
    fc_add_compensated_fn *add_compensated;
    fc_image_rows_fn *image_rows;
    fc_image_gradient_fn *image_gradient;
    fc_depthwise_fn *depthwise;
    fc_depthwise_gradient_fn *depthwise_gradient;
    fc_finish_fn *finish;
    /* not of integers: */
    fc_pool_fn *pool, *pool_gradient;
    fc_normalize_fn *normalize;
    fc_activation_grad_fn *activation_grad;
} fc_gemm;

typedef struct fc_kernels {
    const char *name;
    int fused; /* 1 where multiply-adds round once */
    fc_gemm f32, f64, i32;
    fc_winograd_kernels winograd; /* in float32 */
    fc_transpose_fn *transpose_4;
    fc_repeat_fn *repeat_4;
    fc_pack_fn *pack_f16, *pack_bf16; /* half-precision filters, packed as f32 */
    fc_convert_fn *f16_to_f32, *bf16_to_f32, *f32_to_f16, *f32_to_bf16;
} fc_kernels;

/* dispatch.c: the instruction sets in this build, best first, and whether this CPU has them. */
int fc_kernels_count(void);
const fc_kernels *fc_kernels_built(int index);
int fc_kernels_supported(int index);

#endif
