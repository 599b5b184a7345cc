/* The epilogue of a call: bias and activation of sums, while they are in the cache. */
#ifndef FC_CONV_EPILOGUE_H
#define FC_CONV_EPILOGUE_H

#include "conv/method.h"

/* Applies it to sums, [pixel][channel], from output channel `channel` of the call on. */
void fc_apply_epilogue(const fc_forward *call, int64_t channel, void *sums, int64_t pixels, int64_t channels,
                       int64_t stride);

/* Does the same to all channels' sums, [channel][pixel]. */
void fc_apply_epilogue_to_planes(const fc_forward *call, void *sums, int64_t pixels, int64_t stride);

#endif
