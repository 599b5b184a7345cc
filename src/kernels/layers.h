/* The contracts of the kernels of other layers: pools (pool.inc), local response normalization (normalization.inc) and
 * the gradients of activations (activations.inc). */
#ifndef FC_KERNELS_LAYERS_H
#define FC_KERNELS_LAYERS_H

#include "kernels/epilogue.h"

/* One window of a pool, cut to the image; all steps count elements, and channels lie side by side. */
typedef struct fc_pool_window {
    int average; /* 1: the mean; 0: the maximum */
    const void *x;
    void *y;                        /* the pool's result; its gradient does not use it */
    int64_t *places;                /* gets where the first of the largest cells lies; null: not wanted */
    int64_t first_place, place_row; /* the place of the window's first cell, and the step from row to row */
    int64_t rows, columns, channels;
    int64_t x_row, x_column;
    const void *dy; /* the gradient of the window's result */
    void *dx;       /* the gradient of its cells, which the kernel adds to */
    int64_t dx_row, dx_column;
} fc_pool_window;
typedef void fc_pool_fn(const fc_pool_window *window);

enum {
    FC_NORMALIZED = 256,         /* channels that the kernel normalizes at a time */
    FC_NORMALIZATION_RADIUS = 64 /* the largest radius that it takes */
};

/* Local response normalization of pixels of dense channels, or its gradient if there is a dy. */
typedef struct fc_normalization {
    const void *x, *y, *dy;
    void *result;
    int64_t channels, radius;
    double bias, alpha, beta;
} fc_normalization;
typedef void fc_normalize_fn(const fc_normalization *call, int64_t first_pixel, int64_t end_pixel);

/* Writes to dx the product of dy and the derivative of an activation at x: of relu up to the limit `parameter` (NaN:
 * without a limit), of silu with that steepness, of gelu or of gelu_tanh. dx may be dy or x. */
typedef void fc_activation_grad_fn(fc_activation activation, double parameter, const void *dy, const void *x,
                                   int64_t count, void *dx);

#endif
