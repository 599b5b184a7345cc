/* The methods that compute gradients of filters. */
#ifndef FC_CONV_BACKPROP_FILTER_H
#define FC_CONV_BACKPROP_FILTER_H

#include "conv/filter_method.h"

/* All methods, in no order; null behind the last. */
extern const fc_filter_method *const fc_filter_methods[];

#endif
