/* The geometry of one convolution and the order of its sums: what the planner hands to the C side. */
#ifndef FC_PROBLEM_H
#define FC_PROBLEM_H

#include <stddef.h>
#include <stdint.h>

/* Field for field the Python class ConvProblem; sizes and strides are counts of cells, groups is 1 when dense. */
typedef struct fc_problem {
    int64_t n, h, w, c;
    int64_t kh, kw, f;
    int64_t oh, ow;
    int64_t stride_h, stride_w;
    int64_t dilation_h, dilation_w;
    int64_t pad_top, pad_bottom, pad_left, pad_right;
    int64_t groups;
} fc_problem;

/* How the kh * kw * (c / groups) terms of an output are summed; fixed by the problem, for the bits depend on it.
 *
 * The terms, in the order (kh, kw, c), form `runs` runs of `run_length` consecutive
 * terms: one run a filter tap, or, when `folded`, one a filter row. A block is `block_runs` whole runs, or `chunk`
 * terms of one run where chunk is less than run_length. Each block is summed from +0 term by term; the blocks' sums are
 * then added in order. */
typedef struct fc_sum {
    int64_t folded;
    int64_t runs, run_length;
    int64_t block_runs, chunk;
} fc_sum;

/* Winograd's minimal filtering: tiles of `rows` x `columns` outputs, 2 or 4 each, both 3, or 1 beside 3 or 4; with
 * stride 2, both 2, and 3x3 taps; from the corner of each image. The filter is taken as a sum of pieces of 3 taps along
 * an axis, 4 for 3 outputs or 1 for 1 output: the first from its first tap on, taps past its end being zeros. Products
 * are summed piece by piece over the channels, in blocks of one or two halves: each half from +0 channel by channel,
 * then both together; the blocks in order. */
typedef struct fc_winograd {
    int64_t rows, columns;
    int64_t block; /* channels; a multiple of 16 */
    int64_t halves;
} fc_winograd;

typedef enum fc_dtype { FC_F32, FC_F64, FC_I32, FC_F16, FC_BF16 } fc_dtype;

/* An image tensor of any layout; strides count elements and may be zero or negative. */
typedef struct fc_tensor {
    void *data;
    fc_dtype dtype;
    int64_t stride_n, stride_h, stride_w, stride_c;
} fc_tensor;

/* Filters in any layout; strides count elements and may be negative. A group's filters begin `group` elements after
 * those of the group before. */
typedef struct fc_filters {
    const void *data;
    int64_t group, h, w, depth, column;
} fc_filters;

#endif
