/* The gradient of filters as outer products of input windows and output gradients: for every convolution. */
#ifndef FC_CONV_OUTER_PRODUCTS_H
#define FC_CONV_OUTER_PRODUCTS_H

#include "conv/filter_method.h"

extern const fc_filter_method fc_outer_products_filter_method;

#endif
