/* The gradient of the filters as independent tasks: fc_backprop_filter_split once, then for each portion of the pixels
 * in turn each task, then each sum. */
#ifndef FC_BACKPROP_FILTER_H
#define FC_BACKPROP_FILTER_H

#include "forward.h"
#include "strip.h"

enum { FC_SUM_PART = 1 << 14 /* elements of the gradient in one sum */ };

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
 * lanes (fc_image_gradient). With Winograd's minimal filtering, the same holds of its tiles: all in order are cut into
 * blocks of `columns`, each slice's blocks into the fewest equal runs of at most `rows`, and the runs' sums are added
 * in order. */
typedef struct fc_pixel_sum {
    int64_t rows, columns, slices;
    int64_t portions; /* 1 with Winograd's */
} fc_pixel_sum;

typedef struct fc_backprop_filter {
    /* what to compute; set by the caller */
    fc_forward forward; /* whose filters' gradient this is: problem, sum, kernels, lanes (channels, depthwise,
                           pixels or Winograd's, with a tile), x, and y, the output's gradient */
    fc_pixel_sum pixels;
    int64_t portion; /* whose tasks and sums run, from 0 on */
    void *w;         /* the filters' gradient: [kh * kw * c / groups][f], dense, of x's dtype */

    /* how the work is split; set by fc_backprop_filter_split. Nothing here can change a bit of the result. */
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
} fc_backprop_filter;

void fc_backprop_filter_split(fc_backprop_filter *call, int threads);

/* Sets what follows from the slices: in_place, sums and partial_bytes. */
void fc_split_slices(fc_backprop_filter *call);

/* The blocks of a slice of the portion at hand: first to end - 1. */
void fc_blocks_of_slice(const fc_backprop_filter *call, int64_t slice, int64_t *first, int64_t *end);

/* The output pixels of one block. */
fc_region fc_pixel_block(const fc_backprop_filter *call, int64_t index, int64_t group);

/* The sums of one slice for a range of terms and channels; every task before any of the sums. */
void fc_backprop_filter_task(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial);

/* Adds up the slices of a range of the gradient and, after the last portion, stores it. */
void fc_backprop_filter_sum(const fc_backprop_filter *call, int64_t sum, void *partial);

/* After all tasks. */
fc_verdict fc_backprop_filter_verdict(const fc_backprop_filter *call, void *partial);

/* Terms of an output of one group. */
static inline int64_t fc_terms(const fc_problem *p) { return p->kh * p->kw * (p->c / p->groups); }

#endif
