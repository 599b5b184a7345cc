/* The gradient of depthwise filters: each tap sums the products of the cells that it meets and the gradients there. */
#include "conv/depthwise_gradient.h"
#include "base/float_mode.h"
#include "conv/pixel_blocks.h"
#include "threads/team.h"
#include <string.h>

static void prepare(fc_backprop_filter *call, int threads) {
    const fc_problem *p = &call->problem;
    const fc_pixel_sum *pixels = &call->pixels;
    const fc_axis h = fc_axis_h(p);
    fc_depthwise_gradient_split *const s = &call->depthwise;
    const int64_t size = fc_filter_arithmetic(call)->size, least = call->kernels->tuning.depthwise_dw_channels;
    const int readable = !fc_is_converted(call->x.dtype);
    s->x_in_place = readable && fc_group_outputs(p) == 1 && call->x.stride_c == 1;
    s->dy_in_place = readable && call->dy.stride_c == 1;
    call->blocks = fc_pixel_blocks(call);
    s->channel_tasks = 1;
    while (threads > 1 && pixels->slices * s->channel_tasks < FC_TASKS * threads &&
           p->f >= 2 * least * s->channel_tasks && p->c >= 2 * s->channel_tasks)
        s->channel_tasks *= 2;
    call->tasks = pixels->slices * s->channel_tasks;

    const int64_t channels = fc_ceil_div(p->c, s->channel_tasks) * fc_group_outputs(p);
    const int64_t row_bytes = fc_round_up(p->w * channels * size);
    s->x_staging =
        (fc_staging){row_bytes, s->x_in_place ? 0 : fc_min(p->h, fc_axis_reach(&h, pixels->rows)) * row_bytes};
    s->dy_bytes = s->dy_in_place ? 0 : fc_round_up(pixels->rows * pixels->columns * channels * size);
    fc_split_slices(call);
    call->scratch_bytes = s->x_staging.bytes + s->dy_bytes;
}

/* What one task works with: `channels` output channels from `channel` on. */
typedef struct work {
    const fc_backprop_filter *call;
    const fc_arithmetic *kernels;
    int64_t channel, channels;
    char *x, *dy; /* staged */
    char *dw;
} work;

/* A block's data: the addresses of image cell (0, 0) and of output (0, 0), as if whole images were there. Steps count
 * elements. */
typedef struct source {
    uintptr_t x, dy;
    int64_t x_row, x_column, dy_row, dy_column;
} source;

/* Stages the block's inputs. */
static void stage_x(const work *k, const fc_region *region, source *from) {
    const fc_backprop_filter *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_tensor *x = &call->x;
    const fc_axis h = fc_axis_h(p);
    const int64_t m = fc_group_outputs(p), row_bytes = call->depthwise.x_staging.row_bytes, size = k->kernels->size;
    const fc_range rows = fc_axis_cells(&h, (fc_range){region->row, region->row + region->rows});
    for (int64_t r = rows.first; r < rows.end; r++) {
        const uintptr_t row = from->x + (uintptr_t)(r * x->stride_h * fc_dtype_size(x->dtype));
        const fc_matrix pixels = fc_matrix_of((const void *)row, p->w, k->channels / m, x->stride_w, x->stride_c);
        fc_stage_repeated(call->kernels, x->dtype, &pixels, m, k->x + (r - rows.first) * row_bytes);
    }
    from->x_row = row_bytes / size;
    from->x_column = k->channels;
    from->x = (uintptr_t)k->x - (uintptr_t)(rows.first * row_bytes);
}

/* Stages the block's output gradients. */
static void stage_dy(const work *k, const fc_region *region, source *from) {
    const fc_tensor *dy = &k->call->dy;
    const int64_t size = k->kernels->size;
    from->dy_column = k->channels;
    from->dy_row = region->columns * k->channels;
    for (int64_t r = 0; r < region->rows; r++) {
        const int64_t at = (region->row + r) * dy->stride_h + region->column * dy->stride_w;
        const uintptr_t row = from->dy + (uintptr_t)(at * fc_dtype_size(dy->dtype));
        const fc_matrix pixels =
            fc_matrix_of((const void *)row, region->columns, k->channels, dy->stride_w, dy->stride_c);
        fc_stage_pixels(k->call->kernels, dy->dtype, &pixels, k->dy + r * from->dy_row * size, k->channels);
    }
    const int64_t before = region->row * from->dy_row + region->column * from->dy_column;
    from->dy = (uintptr_t)k->dy - (uintptr_t)(before * size);
}

/* The block's inputs and output gradients, in place or staged. */
static source read_block(const work *k, const fc_region *region) {
    const fc_backprop_filter *call = k->call;
    const fc_tensor *x = &call->x, *dy = &call->dy;
    const int64_t stored = fc_dtype_size(x->dtype);
    const int64_t x_at = region->image * x->stride_n + k->channel / fc_group_outputs(&call->problem) * x->stride_c;
    const int64_t dy_at = region->image * dy->stride_n + k->channel * dy->stride_c;
    source from = {.x = (uintptr_t)x->data + (uintptr_t)(x_at * stored),
                   .dy = (uintptr_t)dy->data + (uintptr_t)(dy_at * stored),
                   .x_row = x->stride_h,
                   .x_column = x->stride_w,
                   .dy_row = dy->stride_h,
                   .dy_column = dy->stride_w};
    if (!call->depthwise.x_in_place) stage_x(k, region, &from);
    if (!call->depthwise.dy_in_place) stage_dy(k, region, &from);
    return from;
}

/* Adds the sums of `taps` taps of row i, from tap j on, over a rectangle of outputs. */
static void add_taps(const work *k, const source *from, fc_range rows, fc_range columns, int64_t i, int64_t j,
                     int64_t taps) {
    if (fc_range_count(columns) == 0) return;
    const fc_problem *p = &k->call->problem;
    const fc_axis h = fc_axis_h(p), w = fc_axis_w(p);
    const int64_t size = k->kernels->size;
    const int64_t x =
        fc_axis_cell(&h, rows.first, i) * from->x_row + fc_axis_cell(&w, columns.first, j) * from->x_column;
    const int64_t dy = rows.first * from->dy_row + columns.first * from->dy_column;
    const fc_depthwise_gradient t = {.x = (const void *)(from->x + (uintptr_t)(x * size)),
                                     .dy = (const void *)(from->dy + (uintptr_t)(dy * size)),
                                     .dw = k->dw + ((i * p->kw + j) * p->f + k->channel) * size,
                                     .rows = fc_range_count(rows),
                                     .columns = fc_range_count(columns),
                                     .taps = taps,
                                     .x_row = p->stride_h * from->x_row,
                                     .x_step = p->stride_w * from->x_column,
                                     .x_column = p->dilation_w * from->x_column,
                                     .dy_row = from->dy_row,
                                     .dy_step = from->dy_column,
                                     .dw_column = p->f,
                                     .channels = k->channels};
    k->kernels->depthwise_gradient(&t);
}

/* Adds one row of taps' sums over the block. The outputs all of whose taps lie inside the image come first, then those
 * at the sides, tap by tap. */
static void add_tap_row(const work *k, const fc_region *region, const source *from, int64_t i) {
    const fc_problem *p = &k->call->problem;
    const fc_axis h = fc_axis_h(p), w = fc_axis_w(p);
    const fc_range all = {region->column, region->column + region->columns};
    const fc_range rows = fc_axis_outputs_inside(&h, (fc_range){region->row, region->row + region->rows}, i);
    if (fc_range_count(rows) == 0) return;
    const fc_range whole = fc_range_within(all, fc_axis_outputs_whole(&w));
    add_taps(k, from, rows, whole, i, 0, p->kw);
    for (int64_t j = 0; j < p->kw; j++) {
        const fc_range inside = fc_axis_outputs_inside(&w, all, j);
        add_taps(k, from, rows, fc_range_within(inside, (fc_range){all.first, whole.first}), i, j, 1);
        add_taps(k, from, rows, fc_range_within(inside, (fc_range){whole.end, all.end}), i, j, 1);
    }
}

static void compute(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->problem;
    const fc_depthwise_gradient_split *s = &call->depthwise;
    const int64_t channel_task = task % s->channel_tasks, slice = task / s->channel_tasks, m = fc_group_outputs(p);
    const int64_t first = fc_split_start(p->c, s->channel_tasks, channel_task);
    work k = {.call = call,
              .kernels = fc_filter_arithmetic(call),
              .channel = first * m,
              .channels = (fc_split_start(p->c, s->channel_tasks, channel_task + 1) - first) * m,
              .x = scratch,
              .dy = (char *)scratch + s->x_staging.bytes,
              .dw = fc_slice_sums(call, slice, partial)};
    const int64_t size = k.kernels->size;
    for (int64_t tap = 0; tap < p->kh * p->kw; tap++)
        memset(k.dw + (tap * p->f + k.channel) * size, 0, (size_t)(k.channels * size));

    const fc_range blocks = fc_blocks_of_slice(call, slice);
    for (int64_t b = blocks.first; b < blocks.end && !fc_team_stopped(); b++) {
        const fc_region region = fc_pixel_block(call, b, 0);
        const source from = read_block(&k, &region);
        for (int64_t i = 0; i < p->kh; i++) add_tap_row(&k, &region, &from, i);
    }
    fc_float_mode_leave(callers);
}

const fc_filter_method fc_depthwise_filter_method = {.name = "depthwise", .prepare = prepare, .task = compute};
