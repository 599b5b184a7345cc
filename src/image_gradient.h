/* The gradient of filters for images of few channels, whose lanes hold pixels. */
#ifndef FC_IMAGE_GRADIENT_H
#define FC_IMAGE_GRADIENT_H

#include "filter_method.h"

extern const fc_filter_method fc_image_filter_gradient;

#endif
