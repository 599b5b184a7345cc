/* The geometry of one convolution and the order of its sums: what the planner hands to the C side. */
#ifndef FC_BASE_PROBLEM_H
#define FC_BASE_PROBLEM_H

#include "base/dtype.h"
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

/* How the kh * kw * (c / groups) terms of an output are summed. It follows from the problem alone, as the bits of the
 * result depend on it.
 *
 * The terms, in the order (kh, kw, c), form `runs` runs of `run_length` consecutive terms. A run is a filter tap or, if
 * the sum is folded, a filter row. A block is block_runs whole runs or, where chunk is less than run_length, chunk
 * terms of one run. Each block is summed from +0 term by term. Then the blocks' sums are added in order. */
typedef struct fc_sum {
    int64_t folded;
    int64_t runs, run_length;
    int64_t block_runs, chunk;
} fc_sum;

/* Winograd's minimal filtering F(rows x columns, taps), and how its products are summed.
 *
 * Tiles begin at the corner of each image. Rows and columns are 2 or 4 each, both 3, or 1 beside 3 or 4; with stride 2,
 * which takes filters of 3x3 taps, both are 2. A larger filter is a sum of sub-kernels, each of 3 taps along an axis:
 * of 4 for 3 outputs, of 1 for 1 output. The first begins with the filter's first tap; taps past the filter's end are
 * zeros.
 *
 * Products are summed sub-kernel by sub-kernel over the channels, in blocks. A block has one or two halves, each summed
 * from +0 channel by channel; then both are added. The blocks are added in order. */
typedef struct fc_winograd {
    int64_t rows, columns;
    int64_t block; /* channels; a multiple of 16 */
    int64_t halves;
} fc_winograd;

/* An image tensor of any layout; strides count elements and may be zero or negative. */
typedef struct fc_tensor {
    void *data;
    fc_dtype dtype;
    int64_t stride_n, stride_h, stride_w, stride_c;
} fc_tensor;

/* Filters in any layout; strides count elements and may be negative. `depth` is the step to the next input channel,
 * `column` to the next output channel of a group, `group` to the next group's first filter. */
typedef struct fc_filters {
    const void *data;
    int64_t group, h, w, depth, column;
} fc_filters;

/* Input and output channels of a group; of depthwise convolutions, the latter are filters of each channel. */
static inline int64_t fc_group_channels(const fc_problem *p) { return p->c / p->groups; }
static inline int64_t fc_group_outputs(const fc_problem *p) { return p->f / p->groups; }

/* Elements from the first filter's first tap to its tap number `tap`, counted row by row. */
static inline int64_t fc_tap_offset(const fc_problem *p, const fc_filters *w, int64_t tap) {
    return tap / p->kw * w->h + tap % p->kw * w->w;
}

#endif
