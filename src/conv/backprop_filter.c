/* The table of methods that compute gradients of filters. */
#include "conv/backprop_filter.h"
#include "conv/depthwise_gradient.h"
#include "conv/spatial_gradient.h"
#include "conv/outer_products.h"
#include "winograd/backprop_filter.h"

const fc_filter_method *const fc_filter_methods[] = {
    &fc_outer_products_filter_method,
    &fc_depthwise_filter_method,
    &fc_spatial_filter_method,
    &fc_winograd_filter_method,
    NULL,
};
