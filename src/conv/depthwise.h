/* The depthwise convolution, for as many groups as input channels. */
#ifndef FC_CONV_DEPTHWISE_H
#define FC_CONV_DEPTHWISE_H

#include "conv/method.h"

extern const fc_method fc_depthwise_method;

#endif
