/* The contract of the spatial kernels, whose lanes hold neighboring pixels (spatial.inc, spatial_gradient.inc); all
 * steps count elements. */
#ifndef FC_KERNELS_SPATIAL_H
#define FC_KERNELS_SPATIAL_H

#include <stdint.h>

enum { FC_SPATIAL_ROWS = 4 /* rows of outputs that one call computes together */ };

/* Rows of outputs of one filter, for images of few channels. */
typedef struct fc_spatial_rows {
    const void *x;      /* what the first tap of the first output meets; columns lie side by side */
    int64_t planes;     /* input channels */
    int64_t plane;      /* from one channel's plane to the next */
    const void *w;      /* [row of taps][column of taps][channel] */
    void *y;            /* the first output */
    int64_t rows;       /* of outputs: FC_SPATIAL_ROWS, each one tap_row below the one before, or 1 */
    int64_t columns;    /* of outputs; the kernel reads x up to whole pairs of vectors */
    int64_t taps;       /* of a row of taps */
    int64_t first, end; /* rows of taps inside the image */
    int64_t block;      /* rows of taps in a block of the sum */
    int64_t tap_row, y_row;
} fc_spatial_rows;
typedef void fc_spatial_rows_fn(const fc_spatial_rows *rows);

enum {
    FC_SPATIAL_LANES = 16, /* sums that the pixels of a row are dealt out to. This fixes bits: every instruction set has
                              as many, in one vector or several, and adds them in one order, a tree. */
    FC_SPATIAL_TAPS = 3,   /* neighboring taps of a call, at most */
    FC_SPATIAL_OUTPUTS = 2, /* output channels of a call, at most */
};

/* Neighboring taps of such a filter, of one input channel and some outputs: the kernel adds to each tap's gradient the
 * sum over a rectangle of outputs of input times output gradient. */
typedef struct fc_spatial_gradient {
    const void *x;         /* what the first output's first tap meets; columns lie side by side */
    const void *dy;        /* the first output's gradient; columns lie side by side, too */
    int64_t rows, columns; /* of outputs */
    int64_t x_row, dy_row; /* from row to row */
    int64_t dy_plane;      /* from one output channel's plane to the next */
    int taps, outputs;     /* how many of both */
    void *dw;              /* the first tap's gradients; those of its outputs lie side by side */
    int64_t dw_column;     /* from tap to tap */
} fc_spatial_gradient;
typedef void fc_spatial_gradient_fn(const fc_spatial_gradient *gradient);

#endif
