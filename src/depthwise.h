/* The depthwise convolution, for as many groups as input channels, and what other kernels of such rows share with it.
 */
#ifndef FC_DEPTHWISE_H
#define FC_DEPTHWISE_H

#include "method.h"

extern const fc_method fc_depthwise;

/* Input rows that `rows` output rows reach, at most. */
int64_t fc_rows_reached(const fc_problem *p, int64_t rows);

/* The taps first to end - 1 that lie inside an image of `size` cells, for the window that begins at `start`. */
void fc_taps_inside(int64_t start, int64_t taps, int64_t dilation, int64_t size, int64_t *first, int64_t *end);

/* `pixels` pixels of `channels` channels as dense ones of the arithmetic type, each channel `times` times. */
void fc_stage_repeated(const fc_kernels *kernels, fc_dtype dtype, const void *from, int64_t stride_w, int64_t stride_c,
                       int64_t pixels, int64_t channels, int64_t times, void *to);

#endif
