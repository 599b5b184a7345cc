/* The gradient of a convolution's filters as one call, and what computes it: a method. */
#ifndef FC_FILTER_METHOD_H
#define FC_FILTER_METHOD_H

#include "method.h"

/* Whether the sums are what they should be. Those of Winograd's tiles are not where values are too uneven, and those of
 * them that are not finite may not be; then they are to be summed directly. */
typedef enum fc_verdict { FC_SOUND, FC_NOT_FINITE, FC_UNEVEN } fc_verdict;

/* How the output pixels are summed; fixed by the problem, for the bits depend on it.
 *
 * Each image's output is cut into blocks of at most rows x columns pixels, of several rows only where they are whole. A
 * block is summed from +0 pixel by pixel, along the rows. All blocks in order (images, rows, columns) are cut into
 * `portions` equal parts, and each of these into `slices`. Within a slice the blocks' sums are added in order, the
 * slices' sums in a binary tree, and the portions' sums in order with compensation: a portion is so short that errors
 * do not grow with the number of pixels.
 *
 * Where lanes hold pixels, the strides and dilations are 1, there is one group, and a block's sums are those of its
 * lanes (image_gradient.c). With Winograd's minimal filtering, the same holds of its tiles: all in order are cut into
 * blocks of `columns`, each slice's blocks into the fewest equal runs of at most `rows`, and the runs' sums are added
 * in order. */
typedef struct fc_pixel_sum {
    int64_t rows, columns, slices;
    int64_t portions; /* 1 with Winograd's */
} fc_pixel_sum;

typedef struct fc_backprop_filter fc_backprop_filter;

/* One way to compute it: `prepare` once; then, for each portion of the pixels in turn, each task, and then each sum
 * (fc_sum_slices); then the verdict, if there is one. */
typedef struct fc_filter_method {
    const char *name; /* as plans have it */
    void (*prepare)(fc_backprop_filter *call, int threads);
    /* The sums of a slice, or of a part of one; every task before any of the sums. */
    void (*task)(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial);
    fc_verdict (*verdict)(const fc_backprop_filter *call, void *partial); /* null: FC_SOUND */
} fc_filter_method;

struct fc_backprop_filter {
    /* what to compute; set by the caller */
    const fc_filter_method *method;
    fc_forward forward; /* whose filters' gradient this is: problem, sum, kernels, with Winograd's a tile, x, and y, the
                           output's gradient */
    fc_pixel_sum pixels;
    int64_t portion; /* whose tasks and sums run, from 0 on */
    void *w;         /* the filters' gradient: [kh * kw * c / groups][f], dense, of x's dtype */

    /* how the work is split; set by the method's `prepare`. Nothing here can change a bit of the result. */
    int64_t blocks;         /* in all images */
    int64_t blocks_at_once; /* whose output gradients are packed together */
    int64_t tiles;          /* of terms, a group: each of at most the instruction set's rows, in one run of the sum */
    int64_t term_tasks;     /* ranges of tiles */
    int64_t channel_tasks;  /* ranges of panels of output channels, a group */
    int64_t tasks, sums;    /* numbers of both kinds of task */
    int unpacked;           /* the output's gradient is read where it lies, if a task's are whole vectors */
    int in_place;           /* there is one slice of one portion, summed in w itself */
    int64_t packed_bytes, table_bytes, zeros_bytes;
    int64_t scratch_bytes; /* what one thread needs, aligned to 64 */
    int64_t partial_bytes; /* what all threads share: the slices' sums, then those of portions and what they
                              lost; with Winograd's, what tells the verdict */
};

/* What a call's method does with it; see fc_filter_method. */
static inline void fc_prepare_filter(fc_backprop_filter *call, int threads) { call->method->prepare(call, threads); }
static inline void fc_filter_task(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    call->method->task(call, task, scratch, partial);
}
static inline fc_verdict fc_filter_verdict(const fc_backprop_filter *call, void *partial) {
    return call->method->verdict ? call->method->verdict(call, partial) : FC_SOUND;
}

/* Terms of an output of one group. */
static inline int64_t fc_terms(const fc_problem *p) { return p->kh * p->kw * (p->c / p->groups); }

#endif
