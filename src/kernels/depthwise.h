/* The contract of the depthwise kernels (depthwise.inc); all steps and strides count elements. */
#ifndef FC_KERNELS_DEPTHWISE_H
#define FC_KERNELS_DEPTHWISE_H

#include <stdint.h>

/* One row of outputs, each channel with a filter of its own. */
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
    /* Outputs at an edge of the image, which leave out the taps that meet no cell of it: */
    int is_edge;                  /* 0: none of what follows counts */
    int64_t first_cell, end_cell; /* those of the image, counted from `x`, a tap each */
    int64_t stride;               /* cells from output to output */
} fc_depthwise_row;
typedef void fc_depthwise_fn(const fc_depthwise_row *row);

/* A rectangle of outputs that all meet `taps` neighboring taps of one filter row: the kernel adds to each tap's
 * gradient the sum over the outputs of input times output gradient. */
typedef struct fc_depthwise_gradient {
    const void *x;  /* what the first output's first tap meets; its channels lie side by side */
    const void *dy; /* the first output's gradient */
    void *dw;       /* the first tap's gradient */
    int64_t rows, columns, taps;
    int64_t x_row, x_step, x_column; /* from output to output, and from tap to tap */
    int64_t dy_row, dy_step;
    int64_t dw_column;
    int64_t channels;
} fc_depthwise_gradient;
typedef void fc_depthwise_gradient_fn(const fc_depthwise_gradient *rectangle);

#endif
