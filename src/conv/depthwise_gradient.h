/* The gradient of depthwise filters, for as many groups as input channels. */
#ifndef FC_CONV_DEPTHWISE_GRADIENT_H
#define FC_CONV_DEPTHWISE_GRADIENT_H

#include "conv/filter_method.h"

extern const fc_filter_method fc_depthwise_filter_method;

#endif
