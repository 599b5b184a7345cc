/* The method for filters of 1x1 that take every pixel: a plain matrix product of all pixels and the filters.
 *
 * Its `prepare` makes the call's problem one of a single row of pixels, where the tensors allow that. */
#ifndef FC_CONV_POINTWISE_H
#define FC_CONV_POINTWISE_H

#include "conv/method.h"

extern const fc_method fc_pointwise_method;

#endif
