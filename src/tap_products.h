/* Convolution with few output channels, whose lanes hold taps: for arithmetic types, 1 group, dense taps and stride 1.
 */
#ifndef FC_TAP_PRODUCTS_H
#define FC_TAP_PRODUCTS_H

#include "method.h"

extern const fc_method fc_tap_products;

#endif
