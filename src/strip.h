/* Where a task reads its input windows: in the caller's tensor, or in a strip of it staged in scratch. */
#ifndef FC_STRIP_H
#define FC_STRIP_H

#include "method.h"

/* A rectangle of output pixels of one range of channels: one task. */
typedef struct fc_region {
    int64_t image, row, rows; /* rows count on through the images where fc_forward.images is 1 */
    int64_t column, columns;
    int64_t group, channel, channels; /* output channels, `channel` the first of them within the group */
} fc_region;

/* The address of any term is linear in the output pixel and the tap:
 * origin + n * image + oy * row + ox * column + i * tap_row + j * tap_column, all steps in bytes.
 * It is meaningful only where the tap lies inside the image. */
typedef struct fc_view {
    uintptr_t origin;
    int64_t image, row, column, tap_row, tap_column;
} fc_view;

/* Whether the terms of every run lie side by side in the caller's tensor, in the arithmetic type. */
int fc_windows_in_place(const fc_forward *call);

/* Whether neighbouring pixels of x fall into the same sets of the first cache, more of them than a set has lines. */
int fc_is_aliased(const fc_forward *call);

/* The view of the caller's tensor itself. */
fc_view fc_direct_view(const fc_forward *call, int64_t group);

/* Bytes of a strip row, and of the whole strip, for a region of this many rows and columns. */
void fc_strip_size(const fc_forward *call, int64_t rows, int64_t columns, int64_t *row_bytes, int64_t *bytes);

/* Copies what the region needs into the strip, and returns its view. */
fc_view fc_stage_strip(const fc_forward *call, const fc_region *region, void *strip);

#endif
