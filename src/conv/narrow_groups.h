/* Groups of few channels, whose vectors hold the outputs of several groups: for 4-byte arithmetic, dense taps along the
 * row, and folded sums in blocks of whole runs. */
#ifndef FC_CONV_NARROW_GROUPS_H
#define FC_CONV_NARROW_GROUPS_H

#include "conv/method.h"

extern const fc_method fc_narrow_groups_method;

#endif
