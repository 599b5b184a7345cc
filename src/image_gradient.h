/* The gradient of filters for images of few channels, for fc_backprop_filter, whose tasks these are. */
#ifndef FC_IMAGE_GRADIENT_H
#define FC_IMAGE_GRADIENT_H

#include "backprop_filter.h"

void fc_image_gradient_split(fc_backprop_filter *call);
void fc_image_gradient_task(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial);

#endif
