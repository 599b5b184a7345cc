/* Images whose direct sums are exact, as those of counts, labels and bit planes are: they are summed directly, as
 * Winograd's transforms are not exact.
 *
 * Products of two floats are exact if their factors have no more than 24 bits together. So numbers are looked at until
 * there are too many bits; on ordinary data the first that is not zero decides. */
#ifndef FC_WINOGRAD_EXACT_H
#define FC_WINOGRAD_EXACT_H

#include "conv/filter_method.h"
#include "conv/method.h"

/* Whether a call is by Winograd's method, but has filters of so few bits that sums of some images may be exact. */
int fc_may_be_exact(const fc_forward *call);

/* How many calls fc_take_apart makes of a call, at most. */
int64_t fc_parts_at_most(const fc_forward *call);

/* Writes the call as calls for images in turn that are summed alike; returns how many. An image's own numbers decide
 * how it is summed: those of the images beside it do not count. */
int64_t fc_take_apart(const fc_forward *call, fc_forward *parts);

/* Whether a gradient is by Winograd's method, but direct sums of the products of all images and output gradients are
 * exact, as far as products go. */
int fc_gradient_is_exact(const fc_backprop_filter *call);

#endif
