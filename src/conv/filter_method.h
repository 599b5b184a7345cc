/* The gradient of a convolution's filters as one call, and what computes it: a method. */
#ifndef FC_CONV_FILTER_METHOD_H
#define FC_CONV_FILTER_METHOD_H

#include "layout/staging.h"
#include "winograd/grid.h"

/* What direct sums are to replace: nothing; sums that are not finite, as Winograd's may be wrong then; or all of them,
 * as outliers may have spoiled them. */
typedef enum fc_outcome { FC_SOUND, FC_REPLACE_NOT_FINITE, FC_REPLACE_ALL } fc_outcome;

/* How the output pixels are summed. It follows from the problem alone, as the bits of the result depend on it.
 *
 * Each image's output is cut into blocks of at most rows x columns pixels, of several rows only where they are whole. A
 * block is summed from +0 pixel by pixel, along the rows. All blocks in order (images, rows, columns) are cut into
 * `portions` equal parts, and each of these into `slices`. Within a slice the blocks' sums are added in order, the
 * slices' sums in a binary tree, and the portions' sums in order with compensation. A portion is so short that errors
 * do not grow with the number of pixels.
 *
 * In the spatial method, where lanes hold pixels, a block's sums are those of its lanes (spatial_gradient.c). In
 * Winograd's method, the pixels are tiles. All tiles in order are cut into blocks of `columns`, each slice's blocks
 * into the fewest equal runs of at most `rows`, and the runs' sums are added in order. */
typedef struct fc_pixel_sum {
    int64_t rows, columns, slices;
    int64_t portions; /* 1 in Winograd's method */
} fc_pixel_sum;

typedef struct fc_backprop_filter fc_backprop_filter;

/* One way to compute it. `prepare` comes first; then, for each portion of the pixels in turn, each task, and after
 * these each sum (fc_sum_slices); then the outcome. */
typedef struct fc_filter_method {
    const char *name; /* as plans have it */
    /* Before all else: whether direct sums would be exact, and so are to replace all of it; null: they need not. */
    int (*is_exact)(const fc_backprop_filter *call);
    void (*prepare)(fc_backprop_filter *call, int threads);
    /* Sums a slice, or a part of one. */
    void (*task)(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial);
    fc_outcome (*outcome)(const fc_backprop_filter *call, void *partial); /* null: FC_SOUND */
} fc_filter_method;

/* What each method's `prepare` leaves for its tasks. Nothing here can change a bit of the result. */
typedef struct fc_outer_products_split {
    int x_in_place;         /* 1: inputs are read in place */
    int unpacked;           /* 1: the output's gradient is read in place, if a task's channels are whole vectors */
    int64_t blocks_at_once; /* blocks whose output gradients are packed together */
    int64_t tiles;          /* of terms, a group: each of at most MR, in one run of the sum */
    int64_t term_tasks;     /* ranges of tiles */
    int64_t channel_tasks;  /* ranges of panels of output channels, a group */
    fc_staging staging;
    int64_t packed_bytes, indirection_bytes, zeros_bytes;
} fc_outer_products_split;

typedef struct fc_depthwise_gradient_split {
    int x_in_place, dy_in_place; /* 1: read in place */
    int64_t channel_tasks;
    fc_staging x_staging;
    int64_t dy_bytes;
} fc_depthwise_gradient_split;

typedef struct fc_spatial_gradient_split {
    int64_t x_bytes, dy_bytes; /* of a block's, staged */
} fc_spatial_gradient_split;

/* Where things are in the scratch of a task of Winograd's method, in bytes. Scratch begins with a pixel of zeros. */
typedef struct fc_winograd_gradient_layout {
    int64_t tiles, gradients, sums, chunk, patch, outputs, taps, indirection, size;
    int64_t gradients_plane, sums_plane; /* elements from cell to cell */
} fc_winograd_gradient_layout;

typedef struct fc_winograd_gradient_split {
    int x_in_place;        /* 1: x is read in place */
    int64_t channel_tasks; /* ranges of input channels, in units of a block */
    int64_t column_tasks;  /* ranges of panels of output channels */
    fc_grid grid;          /* of tiles of all channels */
    fc_winograd_gradient_layout at;
    int64_t finite_at; /* in the memory that all threads share: whether each task's gradients are finite */
} fc_winograd_gradient_split;

struct fc_backprop_filter {
    /* what to compute; set by the caller */
    const fc_filter_method *method;
    const fc_kernels *kernels;
    fc_problem problem;
    fc_sum sum;       /* of the forward pass: its runs are those of the terms */
    fc_winograd tile; /* of method winograd */
    fc_pixel_sum pixels;
    fc_tensor x, dy;
    void *dw;        /* [kh * kw * c / groups][f], dense, of x's dtype */
    int64_t portion; /* whose tasks and sums run, from 0 on */

    /* set by the method's `prepare` */
    int64_t blocks;        /* in all images */
    int64_t tasks;         /* that sum slices */
    int64_t sum_tasks;     /* that add the slices up */
    int in_place;          /* 1: there is one slice of one portion, summed in dw itself */
    int64_t scratch_bytes; /* what one thread needs, aligned to 64 */
    int64_t partial_bytes; /* what all threads share: the slices' sums, then those of portions and what they lost; with
                              Winograd's method, what tells the outcome */
    union {                /* the method's own */
        fc_outer_products_split outer_products;
        fc_depthwise_gradient_split depthwise;
        fc_spatial_gradient_split spatial;
        fc_winograd_gradient_split winograd;
    };
};

/* What a call's method does with it; see fc_filter_method. */
static inline int fc_filter_is_exact(const fc_backprop_filter *call) {
    return call->method->is_exact && call->method->is_exact(call);
}
static inline void fc_prepare_filter(fc_backprop_filter *call, int threads) { call->method->prepare(call, threads); }
static inline void fc_filter_task(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    call->method->task(call, task, scratch, partial);
}
static inline fc_outcome fc_filter_outcome(const fc_backprop_filter *call, void *partial) {
    return call->method->outcome ? call->method->outcome(call, partial) : FC_SOUND;
}

/* The kernels of the type in which the call's sums are formed. */
static inline const fc_arithmetic *fc_filter_arithmetic(const fc_backprop_filter *call) {
    return fc_arithmetic_of(call->kernels, call->x.dtype);
}

static inline fc_input fc_filter_input(const fc_backprop_filter *call) {
    return (fc_input){call->kernels, &call->problem, &call->sum, &call->x};
}

/* Terms of an output of one group, and gradients of all filters. */
static inline int64_t fc_terms(const fc_problem *p) { return p->kh * p->kw * fc_group_channels(p); }
static inline int64_t fc_gradients(const fc_problem *p) { return fc_terms(p) * p->f; }

#endif
