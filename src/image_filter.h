/* Filters for images of few channels and few outputs: vectors along the row, for 1 group, folded sums, stride and
 * dilation 1 along the row and, with more than 1 input channel, along the column. */
#ifndef FC_IMAGE_FILTER_H
#define FC_IMAGE_FILTER_H

#include "method.h"

extern const fc_method fc_image_filter;

#endif
