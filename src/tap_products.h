/* One region of a convolution with few output channels, its lanes holding taps. */
#ifndef FC_TAP_PRODUCTS_H
#define FC_TAP_PRODUCTS_H

#include "strip.h"

/* Bytes of the packed filters, and of the products of one input row for a region of this many columns. */
int64_t fc_tap_filters_size(const fc_forward *call);
int64_t fc_tap_products_size(const fc_forward *call, int64_t columns);

/* The region's outputs, [pixel][channel], into `sums`. `filters` and `products` are scratch of those sizes; `table`
 * holds as many addresses as a tile has rows. */
void fc_tap_products(const fc_forward *call, const fc_region *region, const fc_view *view, const void **table,
                     void *filters, void *products, void *sums);

#endif
