/* One axis of a convolution: which outputs, taps and cells of the image meet. */
#ifndef FC_BASE_AXIS_H
#define FC_BASE_AXIS_H

#include "base/arith.h"
#include "base/problem.h"

/* Output o meets, at tap t, cell o * stride + t * dilation - before; it is in the image if it is one of 0 to size - 1.
 */
typedef struct fc_axis {
    int64_t size;    /* cells of the image */
    int64_t taps;    /* of a filter */
    int64_t outputs; /* the number of windows */
    int64_t stride, dilation;
    int64_t before; /* cells of padding before the image */
} fc_axis;

static inline fc_axis fc_axis_h(const fc_problem *p) {
    return (fc_axis){p->h, p->kh, p->oh, p->stride_h, p->dilation_h, p->pad_top};
}
static inline fc_axis fc_axis_w(const fc_problem *p) {
    return (fc_axis){p->w, p->kw, p->ow, p->stride_w, p->dilation_w, p->pad_left};
}

/* The indices first to end - 1; none if these are equal. */
typedef struct fc_range {
    int64_t first, end;
} fc_range;

/* The part of `all` that lies in `other`. */
static inline fc_range fc_range_within(fc_range all, fc_range other) {
    const int64_t first = fc_min(fc_max(all.first, other.first), all.end);
    return (fc_range){first, fc_max(first, fc_min(all.end, other.end))};
}
static inline int64_t fc_range_count(fc_range range) { return range.end - range.first; }

/* The cell that an output meets at a tap, which may lie outside the image. */
static inline int64_t fc_axis_cell(const fc_axis *a, int64_t output, int64_t tap) {
    return output * a->stride + tap * a->dilation - a->before;
}

/* How many cells lie between the first and the last one that `outputs` neighboring windows meet, and both of them. */
static inline int64_t fc_axis_reach(const fc_axis *a, int64_t outputs) {
    return (outputs - 1) * a->stride + (a->taps - 1) * a->dilation + 1;
}

/* The numbers i for which start + i * step is a cell of the image. */
static inline fc_range fc_axis_steps_inside(int64_t start, int64_t step, int64_t size) {
    const int64_t first = start < 0 ? fc_ceil_div(-start, step) : 0;
    const int64_t end = start < size ? fc_ceil_div(size - start, step) : 0;
    return (fc_range){first, fc_max(first, end)};
}

/* The numbers i below `count` for which start + i is a cell of the image. */
static inline fc_range fc_axis_cells_inside(int64_t start, int64_t count, int64_t size) {
    return fc_range_within((fc_range){0, count}, fc_axis_steps_inside(start, 1, size));
}

/* The taps of an output's window that lie in the image. */
static inline fc_range fc_axis_taps_inside(const fc_axis *a, int64_t output) {
    const fc_range inside = fc_axis_steps_inside(fc_axis_cell(a, output, 0), a->dilation, a->size);
    return fc_range_within((fc_range){0, a->taps}, inside);
}

/* The outputs, of some, whose window has this tap in the image. */
static inline fc_range fc_axis_outputs_inside(const fc_axis *a, fc_range some, int64_t tap) {
    return fc_range_within(some, fc_axis_steps_inside(fc_axis_cell(a, 0, tap), a->stride, a->size));
}

/* The outputs whose whole window lies in the image. */
static inline fc_range fc_axis_outputs_whole(const fc_axis *a) {
    const fc_range all = {0, a->outputs}, first = fc_axis_outputs_inside(a, all, 0);
    return fc_range_within(first, fc_axis_outputs_inside(a, all, a->taps - 1));
}

/* The cells of the image among those that some neighboring outputs' windows reach. */
static inline fc_range fc_axis_cells(const fc_axis *a, fc_range outputs) {
    const int64_t start = fc_axis_cell(a, outputs.first, 0), end = fc_axis_cell(a, outputs.end - 1, a->taps - 1) + 1;
    return fc_range_within((fc_range){0, a->size}, (fc_range){start, end});
}

#endif
