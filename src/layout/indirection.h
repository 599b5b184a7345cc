/* The indirection buffer of the implicit matrix product: where each run of terms begins for each pixel of a tile. */
#ifndef FC_LAYOUT_INDIRECTION_H
#define FC_LAYOUT_INDIRECTION_H

#include "base/axis.h"
#include "base/blocks.h"
#include "layout/staging.h"

/* What finds a region's pixels and their terms. */
typedef struct fc_indirection {
    const fc_problem *problem;
    const fc_region *region;
    fc_view view;
    int folded;                /* 1: runs are filter rows, whose padding at the sides is staged */
    int64_t size;              /* bytes of a term */
    fc_range whole_h, whole_w; /* the outputs whose windows lie in the image */
    const void *zeros;         /* what a run outside the image reads */
} fc_indirection;
fc_indirection fc_indirection_of(const fc_input *in, const fc_region *region, const fc_view *view, const void *zeros);

/* An output pixel. */
typedef struct fc_position {
    int64_t n, oy, ox;
} fc_position;

/* The output pixels of one tile: where their windows begin, in memory and, where it is needed, in the image. */
typedef struct fc_pixels {
    int count;
    int inside; /* 1: every tap of every window lies inside the image */
    uintptr_t base[FC_MOST_MR];
    int64_t y[FC_MOST_MR], x[FC_MOST_MR]; /* not set if inside */
} fc_pixels;

/* Finds the next `count` pixels of the region, from `at` on, and moves that past them. */
void fc_find_pixels(const fc_indirection *k, fc_position *at, int count, fc_pixels *found);

/* Fills buffer[run][pixel] with where the runs of a range of the sum begin. */
void fc_fill_indirection(const fc_indirection *k, const fc_block *range, const fc_pixels *at, const void **buffer);

#endif
