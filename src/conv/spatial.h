/* Filters for images of few channels and few outputs: vectors along the row, for 1 group, folded sums, stride and
 * dilation 1 along the row and, with more than 1 input channel, along the column. */
#ifndef FC_CONV_SPATIAL_H
#define FC_CONV_SPATIAL_H

#include "conv/method.h"

extern const fc_method fc_spatial_method;

#endif
