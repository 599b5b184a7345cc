/* Filters for images of few channels: vectors along the row. */
#ifndef FC_IMAGE_FILTER_H
#define FC_IMAGE_FILTER_H

#include "strip.h"

/* Computes a region whole, with few output channels and stride and dilation 1 along the row. `strip` is scratch for all
 * that the region reads, two vectors more and, for halves, room to convert them in, `packed` for the filters; `sums` is
 * y where that has one channel, else scratch for the region's outputs, which end in y. */
void fc_image_filter(const fc_forward *call, const fc_region *region, void *strip, void *packed, void *sums);

#endif
