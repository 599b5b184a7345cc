/* Groups of few channels: a vector's lanes hold the outputs of several groups.
 *
 * For each vector of output channels, the input rows that a task needs are staged in scratch, [row][cell][channel of
 * the group][lane], padding included: every channel as often as its group has filters. Then each channel of a group is
 * one more tap of a depthwise convolution, computed by that kernel. */
#include "narrow_groups.h"
#include "depthwise.h"
#include "epilogue.h"
#include "float_mode.h"
#include "sizes.h"
#include <string.h>

enum { STRIP = 1 << 17 /* bytes of staged rows, where as many as a window has take less */ };

static int depth_of(const fc_problem *p) { return (int)(p->c / p->groups); }
static int filters_of(const fc_problem *p) { return (int)(p->f / p->groups); }

/* Output channels of a vector: of whole groups. */
static int64_t width_of(const fc_forward *call) {
    const int lanes = fc_arithmetic_of(call)->lanes, filters = filters_of(&call->problem);
    return filters > lanes ? filters : lanes / filters * filters;
}

static int64_t cells_of(const fc_problem *p) { return (p->ow - 1) * p->stride_w + p->kw; }

/* Whether channels are read where the caller has them; else one row of them is staged first. */
static int direct(const fc_forward *call) { return !fc_is_half(call->x.dtype) && call->x.stride_c == 1; }

static void measure(fc_forward *call) {
    const fc_problem *p = &call->problem;
    const int64_t size = fc_arithmetic_of(call)->size, width = width_of(call), depth = depth_of(p);
    call->tasks = p->n * call->row_tasks;
    call->packed_bytes = fc_aligned(p->kh * p->kw * depth * width * size);
    call->strip_row_bytes = fc_aligned(cells_of(p) * depth * width * size);
    call->strip_bytes = fc_rows_reached(p, fc_parts(p->oh, call->row_tasks)) * call->strip_row_bytes;
    call->sums_bytes = call->in_place ? 0 : fc_aligned(p->ow * width * size);
    call->table_bytes = direct(call) ? 0 : fc_aligned(p->w * width / filters_of(p) * depth * size);
    call->scratch_bytes = FC_HEADER + call->packed_bytes + call->strip_bytes + call->sums_bytes + call->table_bytes;
}

static void prepare(fc_forward *call, int threads) {
    const fc_problem *p = &call->problem;
    call->pack_tasks = 0;
    call->in_place = !fc_is_half(call->y.dtype) && call->y.stride_c == 1;
    call->row_tasks = threads == 1 ? 1 : fc_least(p->oh, fc_parts(FC_TASKS * threads, p->n));
    for (measure(call); call->strip_bytes > STRIP && call->row_tasks < p->oh; measure(call))
        call->row_tasks = fc_least(2 * call->row_tasks, p->oh);
}

/* What one task works with: `groups` groups from `group` on. */
typedef struct work {
    const fc_forward *call;
    int64_t image, group, groups;
    char *filters, *strip, *sums, *row;
} work;

/* [tap][channel of the group][lane], in the arithmetic type. */
static void pack_filters(const work *k) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    const int64_t filters = filters_of(p), depth = depth_of(p), size = fc_arithmetic_of(call)->size;
    const int together = w->group == filters * w->column;
    const int64_t groups = together ? 1 : k->groups, columns = together ? k->groups * filters : filters;
    char *to = k->filters;
    for (int64_t i = 0; i < p->kh * p->kw * depth; i++)
        for (int64_t g = 0; g < groups; g++, to += columns * size) {
            const int64_t tap = i / depth;
            const int64_t at =
                tap / p->kw * w->h + tap % p->kw * w->w + i % depth * w->depth + (k->group + g) * w->group;
            fc_stage_pixels(call->kernels, call->x.dtype, (const char *)w->data + at * fc_dtype_size(call->x.dtype), 0,
                            w->column, 1, columns, to, columns);
        }
}

/* Any number of groups; the kernel does whole vectors. */
static void repeat(const work *k, const uint32_t *from, int64_t stride, int64_t pixels, uint32_t *to) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const int filters = filters_of(p), depth = depth_of(p);
    const int64_t lanes = fc_arithmetic_of(call)->lanes;
    if (k->groups * filters == lanes && k->groups * depth <= lanes) {
        call->kernels->repeat_4(from, stride, pixels, depth, filters, to);
        return;
    }
    for (int64_t i = 0; i < pixels; i++, from += stride)
        for (int d = 0; d < depth; d++)
            for (int64_t g = 0; g < k->groups; g++)
                for (int f = 0; f < filters; f++) *to++ = from[g * depth + d];
}

/* Row y of the image, with its padding. */
static void stage_row(const work *k, int64_t y, char *to) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_tensor *x = &call->x;
    const int64_t depth = depth_of(p), cell = k->groups * p->f / p->groups * depth * fc_arithmetic_of(call)->size;
    const int64_t cells = cells_of(p), left = -p->pad_left, column = left > 0 ? left : 0; /* the first that is met */
    const int64_t first = fc_least(column - left, cells), met = fc_least(p->w - column, cells - first);
    const int64_t end = first + (met > 0 ? met : 0);
    const int64_t at = k->image * x->stride_n + y * x->stride_h + column * x->stride_w + k->group * depth * x->stride_c;
    const char *from = (const char *)x->data + at * fc_dtype_size(x->dtype);
    int64_t stride = x->stride_w;
    if (!direct(call)) {
        fc_stage_pixels(call->kernels, x->dtype, from, x->stride_w, x->stride_c, end - first, k->groups * depth, k->row,
                        k->groups * depth);
        from = k->row;
        stride = k->groups * depth;
    }
    memset(to, 0, (size_t)(first * cell));
    repeat(k, (const void *)from, stride, end - first, (void *)(to + first * cell));
    memset(to + end * cell, 0, (size_t)((cells - end) * cell));
}

/* The outputs first_row to end_row - 1 of these groups. */
static void compute_groups(const work *k, int64_t first_row, int64_t end_row) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_gemm *gemm = fc_arithmetic_of(call);
    const fc_tensor *y = &call->y;
    const int64_t depth = depth_of(p), channels = k->groups * p->f / p->groups, channel = k->group * p->f / p->groups;
    const int64_t top = first_row * p->stride_h - p->pad_top, bottom = (end_row - 1) * p->stride_h - p->pad_top;
    const int64_t first_y = top > 0 ? top : 0, end_y = fc_least(p->h, bottom + (p->kh - 1) * p->dilation_h + 1);
    pack_filters(k);
    for (int64_t row = first_y; row < end_y; row++)
        stage_row(k, row, k->strip + (row - first_y) * call->strip_row_bytes);

    fc_depthwise_row t = {.columns = p->kw * depth,
                          .x_row = p->dilation_h * (call->strip_row_bytes / gemm->size),
                          .x_column = channels,
                          .x_step = p->stride_w * depth * channels,
                          .w_row = p->kw * depth * channels,
                          .w_column = channels,
                          .y_step = call->in_place ? y->stride_w : channels,
                          .outputs = p->ow,
                          .channels = channels,
                          .block_rows = call->sum.block_runs};
    for (int64_t oy = first_row; oy < end_row; oy++) {
        const int64_t start = oy * p->stride_h - p->pad_top;
        int64_t i, end;
        fc_taps_inside(start, p->kh, p->dilation_h, p->h, &i, &end);
        t.rows = end - i;
        t.first_block = t.block_rows - i % t.block_rows;
        t.w = k->filters + i * t.w_row * gemm->size;
        t.x = k->strip + (start + i * p->dilation_h - first_y) * call->strip_row_bytes;
        const int64_t at = k->image * y->stride_n + oy * y->stride_h + channel * y->stride_c;
        char *const out = (char *)y->data + at * fc_dtype_size(y->dtype);
        t.y = call->in_place ? out : k->sums;
        gemm->depthwise(&t);
        fc_finish(call, channel, t.y, p->ow, channels, t.y_step);
        if (!call->in_place)
            fc_store_pixels(call->kernels, y->dtype, t.y, p->ow, channels, out, y->stride_w, y->stride_c);
    }
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->problem;
    const int64_t row_task = task % call->row_tasks, together = width_of(call) / filters_of(p);
    work k = {.call = call, .image = task / call->row_tasks, .filters = (char *)scratch + FC_HEADER};
    k.strip = k.filters + call->packed_bytes;
    k.sums = k.strip + call->strip_bytes;
    k.row = k.sums + call->sums_bytes;
    for (; k.group < p->groups; k.group += k.groups) {
        k.groups = fc_least(together, p->groups - k.group);
        compute_groups(&k, fc_part_start(p->oh, call->row_tasks, row_task),
                       fc_part_start(p->oh, call->row_tasks, row_task + 1));
    }
    fc_float_mode_leave(callers);
}

const fc_method fc_narrow_groups = {.name = "narrow_groups", .prepare = prepare, .task = compute};
