/* Random problems, sums, tiles and layouts for the tests of whole convolutions. */
#ifndef FC_TEST_CONVOLUTIONS_H
#define FC_TEST_CONVOLUTIONS_H

#include "shapes.h"
#include "support.h"

static inline int64_t windows(int64_t size, int64_t taps, int64_t stride, int64_t dilation, int64_t pads) {
    const int64_t rest = size + pads - (taps - 1) * dilation - 1;
    return rest < 0 ? 0 : rest / stride + 1;
}

/* The planner's rule does not matter here, only that any legal one computes the convolution. */
static inline fc_sum any_sum(const fc_problem *p) {
    const int64_t depth = p->c / p->groups;
    const int folded = depth < 16 && p->kw > 1;
    fc_sum sum = {
        .folded = folded, .runs = folded ? p->kh : p->kh * p->kw, .run_length = folded ? p->kw * depth : depth};
    sum.block_runs = between(1, sum.runs);
    sum.chunk = sum.block_runs == 1 ? between(1, sum.run_length) : sum.run_length;
    return sum;
}

static inline fc_tensor tensor_of(void *data, fc_dtype dtype, int64_t h, int64_t w, int64_t c, int first) {
    if (first) return (fc_tensor){data, dtype, c * h * w, w, 1, h * w};
    return (fc_tensor){data, dtype, h * w * c, w * c, c, 1};
}

/* Filters as backprop-input reads them in half of the cases: rotated, with their two depths exchanged. */
static inline fc_filters any_filters(const buffer *w, fc_dtype dtype, const fc_problem *p) {
    const int64_t depth = p->c / p->groups, width = p->f / p->groups;
    if (between(0, 1)) return (fc_filters){w->data, width, p->kw * depth * p->f, depth * p->f, p->f, 1};
    const int64_t tap = width * p->c, last = (p->kh * p->kw - 1) * tap;
    return (fc_filters){w->data + last * fc_dtype_size(dtype), depth, -p->kw * tap, -tap, 1, p->c};
}

/* A small problem of any kind; 0 if it has no output. */
static inline int any_problem(fc_problem *p, int depthwise) {
    const int64_t any_groups = between(0, 2) ? 1 : between(1, 3);
    const int64_t groups = depthwise ? between(1, 150) : any_groups;
    const int64_t deep = depthwise ? 1 : between(0, 3) ? between(1, 20) : between(30, 200);
    const int simple = between(0, 3) == 0;
    const int wide = depthwise && between(0, 2) == 0 ? 16 : 0; /* rows of which kernels take several taps at a time */
    *p = (fc_problem){.n = between(1, 3),
                      .h = between(1, 12),
                      .w = between(1, 40),
                      .c = groups * deep,
                      .kh = between(1, 4),
                      .kw = between(1, 4 + wide),
                      .f = groups * between(1, depthwise ? 3
                                               : simple  ? 8
                                                         : 40),
                      .stride_h = simple ? 1 : between(1, 3),
                      .stride_w = simple ? 1 : between(1, 3),
                      .dilation_h = simple ? 1 : between(1, 3),
                      .dilation_w = simple ? 1 : between(1, 3),
                      .pad_top = between(-2, 4),
                      .pad_bottom = between(0, 4),
                      .pad_left = between(-2, 4 + wide),
                      .pad_right = between(0, 4 + wide),
                      .groups = groups};
    p->oh = windows(p->h, p->kh, p->stride_h, p->dilation_h, p->pad_top + p->pad_bottom);
    p->ow = windows(p->w, p->kw, p->stride_w, p->dilation_w, p->pad_left + p->pad_right);
    return p->oh >= 1 && p->ow >= 1;
}

enum {
    MOST_TERMS = 9 * 200 * 150
}; /* of a pixel's sums, which direct loops add up: under sanitizers a second and more */

/* Sums of small integers are exact, but for Winograd's: those of 600 channels and 9 taps are about 2000, and err by
 * 5e-7 of that, ten times as much at most. `taps` is 0 where the sums are not Winograd's. */
static inline int is_close(const buffer *y, fc_dtype dtype, int64_t at, double sum, int64_t taps) {
    const double found = element(y, dtype, at);
    if (!taps) return found == rounded(dtype, sum);
    const double roundoff = dtype == FC_F32 ? 0x1p-24 : dtype == FC_F16 ? 0x1p-11 : 0x1p-8;
    return fabs(found - sum) <= roundoff * fabs(sum) + 0.05 * fmax(1, (double)taps / 9);
}

/* Makes a problem one that Winograd's tiles can serve; 0 if it has no output. */
static inline int suit_winograd(fc_problem *p) {
    p->groups = p->dilation_h = p->dilation_w = 1;
    p->stride_h = p->stride_w = between(1, 2);
    const int64_t most = between(0, 3) ? 7 : 15;
    p->kh = p->stride_h == 2 ? 3 : between(1, most);
    p->kw = p->stride_h == 2 ? 3 : between(p->kh == 1 ? 2 : 1, most);
    if (between(0, 1)) p->h += p->kh;
    if (between(0, 3) == 0) p->f = between(65, 150); /* more than one bundle of columns */
    while (p->kh * p->kw * p->c * p->f > MOST_TERMS) *(p->c > p->f ? &p->c : &p->f) /= 2;
    p->oh = windows(p->h, p->kh, p->stride_h, 1, p->pad_top + p->pad_bottom);
    p->ow = windows(p->w, p->kw, p->stride_w, 1, p->pad_left + p->pad_right);
    return p->oh >= 1 && p->ow >= 1;
}

/* A tile for it. */
static inline fc_winograd any_tile(const fc_problem *p) {
    const int64_t *shape = fc_shapes[p->stride_h == 2 ? 0 : between(0, 8)];
    return (fc_winograd){shape[0], shape[1], 16 * between(1, 3), between(1, 2)};
}

#endif
