/* The depthwise convolution, for as many groups as input channels, and what its gradient shares with it. */
#ifndef FC_CONV_DEPTHWISE_H
#define FC_CONV_DEPTHWISE_H

#include "conv/method.h"

extern const fc_method fc_depthwise;

/* Copies pixels, rows of channels, to dense channels of the accumulator's type, each channel `times` times. */
void fc_stage_repeated(const fc_kernels *kernels, fc_dtype dtype, const fc_matrix *from, int64_t times, void *to);

#endif
