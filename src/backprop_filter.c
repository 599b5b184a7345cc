/* The table of methods that compute gradients of filters. */
#include "backprop_filter.h"
#include "depthwise_filter.h"
#include "image_gradient.h"
#include "outer_products.h"
#include "winograd_gradient.h"

const fc_filter_method *const fc_filter_methods[] = {
    &fc_outer_products, &fc_depthwise_filter, &fc_image_filter_gradient, &fc_winograd_gradient, NULL,
};
