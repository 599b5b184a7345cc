/* Images whose direct sums are exact, as those of counts, labels and bit planes are: they are summed directly, as
 * Winograd's transforms are not exact.
 *
 * Products of two floats are exact if their factors have no more than 24 bits together. So numbers are looked at until
 * there are too many bits; on ordinary data the first that is not zero decides. */
#ifndef FC_WINOGRAD_EXACT_H
#define FC_WINOGRAD_EXACT_H

#include "conv/filter_method.h"
#include "conv/method.h"

/* What fc_method and fc_filter_method say of these. */
int fc_filters_may_be_exact(const fc_forward *call);
int64_t fc_take_images_apart(const fc_forward *call, fc_forward *parts);
int fc_gradient_is_exact(const fc_backprop_filter *call);

#endif
