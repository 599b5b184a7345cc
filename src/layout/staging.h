/* Where a task reads its input windows: in the caller's tensor, or in rows of it that are staged in scratch. */
#ifndef FC_LAYOUT_STAGING_H
#define FC_LAYOUT_STAGING_H

#include "layout/copy.h"

/* What is read: an input tensor, and the convolution that reads it. */
typedef struct fc_input {
    const fc_kernels *kernels;
    const fc_problem *problem;
    const fc_sum *sum; /* of which only `folded` counts here */
    const fc_tensor *x;
} fc_input;

/* A rectangle of output pixels of one range of output channels. */
typedef struct fc_region {
    int64_t image, row, rows; /* rows count on through the images where fc_regions.images is 1 */
    int64_t column, columns;
    int64_t group, channel, channels; /* `channel` is the first output channel, counted within the group */
} fc_region;

/* The address of any term is linear in the output pixel and the tap:
 * origin + n * image + oy * row + ox * column + i * tap_row + j * tap_column, all steps in bytes.
 * It is meaningful only where the tap lies inside the image. */
typedef struct fc_view {
    uintptr_t origin;
    int64_t image, row, column, tap_row, tap_column;
} fc_view;

/* Bytes of a staged row, and of all of them. */
typedef struct fc_staging {
    int64_t row_bytes, bytes;
} fc_staging;

/* Whether the terms of every run lie side by side in the caller's tensor, in the accumulator's type. */
int fc_windows_in_place(const fc_input *in);

/* Whether neighboring pixels of x fall into the same sets of the first cache, and more of them than a set has lines. */
int fc_is_aliased(const fc_input *in);

/* The view of the caller's tensor itself. */
fc_view fc_view_in_place(const fc_input *in, int64_t group);

/* What staging takes for a region of this many rows and columns. */
fc_staging fc_staging_of(const fc_input *in, int64_t rows, int64_t columns);

/* Copies what the region needs into `staged`, whose rows are row_bytes long, and returns its view. */
fc_view fc_stage_region(const fc_input *in, const fc_region *region, int64_t row_bytes, void *staged);

#endif
