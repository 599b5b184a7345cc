/* Convolution with few output channels, whose lanes hold taps: for arithmetic types, 1 group, dense taps and stride 1.
 */
#ifndef FC_CONV_KN2ROW_H
#define FC_CONV_KN2ROW_H

#include "conv/method.h"

extern const fc_method fc_kn2row_method;

#endif
