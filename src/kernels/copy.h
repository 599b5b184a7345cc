/* The contract of the kernels that move and convert elements (transpose.inc, repeat.inc, convert.inc). */
#ifndef FC_KERNELS_COPY_H
#define FC_KERNELS_COPY_H

#include <stdint.h>

/* to[c * to_stride + r] = from[r * from_stride + c], for 4-byte elements. */
typedef void fc_transpose_fn(const void *from, int64_t from_stride, int64_t rows, int64_t columns, void *to,
                             int64_t to_stride);

/* to[pixel][d][i] = from[pixel * stride + i / times * depth + d], for 4-byte elements and the i of one vector; times
 * divides its lanes, and depth is at most times. */
typedef void fc_repeat_fn(const void *from, int64_t stride, int64_t pixels, int depth, int times, void *to);

/* Converts `count` consecutive elements. */
typedef void fc_convert_fn(const void *from, void *to, int64_t count);

#endif
