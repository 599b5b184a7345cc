/* Filters for images of one channel: vectors along the row. */
#ifndef FC_IMAGE_FILTER_H
#define FC_IMAGE_FILTER_H

#include "strip.h"

/* Computes a region whole, with few output channels and stride and dilation 1 along the row. The view's strip holds two
 * vectors more than its rows need. `table` and `packed` are scratch; `sums` is y where that has one channel, else
 * scratch for the region's outputs, which end in y. */
void fc_image_filter(const fc_forward *call, const fc_region *region, const fc_view *view, const void **table,
                     void *packed, void *sums);

#endif
