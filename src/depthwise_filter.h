/* The gradient of depthwise filters, for as many groups as input channels. */
#ifndef FC_DEPTHWISE_FILTER_H
#define FC_DEPTHWISE_FILTER_H

#include "filter_method.h"

extern const fc_filter_method fc_depthwise_filter;

#endif
