/* Winograd's minimal filtering, for sums in float32 of dense taps, up to FC_WIDEST along an axis, 1 group, and stride 1
 * or, with 3x3 taps, 2 along both axes. */
#ifndef FC_WINOGRAD_FORWARD_H
#define FC_WINOGRAD_FORWARD_H

#include "conv/method.h"

extern const fc_method fc_winograd_method;

#endif
