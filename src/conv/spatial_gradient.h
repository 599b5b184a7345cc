/* The gradient of filters for images of few channels, whose lanes hold pixels. */
#ifndef FC_CONV_SPATIAL_GRADIENT_H
#define FC_CONV_SPATIAL_GRADIENT_H

#include "conv/filter_method.h"

extern const fc_filter_method fc_spatial_filter_method;

#endif
