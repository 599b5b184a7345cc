/* Groups of few channels: a vector's lanes hold the outputs of several groups.
 *
 * For each vector of output channels, the input rows that a task needs are staged in scratch, [row][cell][channel of
 * the group][lane], padding included: every channel as often as its group has filters. Then each channel of a group is
 * one more tap of a depthwise convolution, computed by that kernel. */
#include "conv/narrow_groups.h"
#include "base/axis.h"
#include "base/float_mode.h"
#include "conv/epilogue.h"
#include <string.h>

/* Output channels of a vector: those of whole groups. */
static int64_t width_of(const fc_forward *call) {
    const int64_t lanes = fc_call_arithmetic(call)->lanes, filters = fc_group_outputs(&call->problem);
    return filters > lanes ? filters : lanes / filters * filters;
}

/* Cells of a staged row: those that a row of outputs reaches, where the taps are dense. */
static int64_t cells_of(const fc_problem *p) {
    const fc_axis w = fc_axis_w(p);
    return fc_axis_reach(&w, p->ow);
}

static void measure(fc_forward *call) {
    const fc_problem *p = &call->problem;
    const fc_axis h = fc_axis_h(p);
    fc_narrow_groups_split *const s = &call->narrow_groups;
    const int64_t size = fc_call_arithmetic(call)->size, width = width_of(call), depth = fc_group_channels(p);
    call->tasks = p->n * s->row_tasks;
    s->packed_bytes = fc_round_up(p->kh * p->kw * depth * width * size);
    s->staging.row_bytes = fc_round_up(cells_of(p) * depth * width * size);
    s->staging.bytes = fc_min(p->h, fc_axis_reach(&h, fc_ceil_div(p->oh, s->row_tasks))) * s->staging.row_bytes;
    s->sums_bytes = s->y_in_place ? 0 : fc_round_up(p->ow * width * size);
    s->row_bytes = s->x_in_place ? 0 : fc_round_up(p->w * width / fc_group_outputs(p) * depth * size);
    call->scratch_bytes = FC_HEADER + s->packed_bytes + s->staging.bytes + s->sums_bytes + s->row_bytes;
}

static void prepare(fc_forward *call, int threads) {
    const fc_problem *p = &call->problem;
    const int64_t most = call->kernels->tuning.narrow_groups_bytes;
    fc_narrow_groups_split *const s = &call->narrow_groups;
    s->x_in_place = !fc_is_converted(call->x.dtype) && call->x.stride_c == 1;
    s->y_in_place = !fc_is_converted(call->y.dtype) && call->y.stride_c == 1;
    s->row_tasks = threads == 1 ? 1 : fc_min(p->oh, fc_ceil_div(FC_TASKS * threads, p->n));
    for (measure(call); s->staging.bytes > most && s->row_tasks < p->oh; measure(call))
        s->row_tasks = fc_min(2 * s->row_tasks, p->oh);
}

/* What one task works with: `groups` groups from `group` on. */
typedef struct work {
    const fc_forward *call;
    const fc_arithmetic *kernels;
    int64_t image, group, groups;
    char *filters, *staged, *sums;
    char *row; /* for a row of the image with dense channels */
} work;

/* Packs the filters: [tap][channel of the group][lane], in the accumulator's type. */
static void pack_filters(const work *k) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    const int64_t filters = fc_group_outputs(p), depth = fc_group_channels(p), size = fc_dtype_size(call->x.dtype);
    const int together = w->group == filters * w->column; /* all groups' filters lie at one distance */
    const int64_t groups = together ? 1 : k->groups, columns = together ? k->groups * filters : filters;
    char *to = k->filters;
    for (int64_t i = 0; i < p->kh * p->kw * depth; i++, to += groups * columns * k->kernels->size) {
        const int64_t tap = i / depth;
        const int64_t at = fc_tap_offset(p, w, tap) + i % depth * w->depth + k->group * w->group;
        const fc_matrix taps = fc_matrix_of((const char *)w->data + at * size, groups, columns, w->group, w->column);
        fc_stage_pixels(call->kernels, call->x.dtype, &taps, to, columns);
    }
}

/* Repeats the channels of some pixels. The kernel does whole vectors; this serves any number of groups. */
static void repeat(const work *k, const uint32_t *from, int64_t stride, int64_t pixels, uint32_t *to) {
    const fc_problem *p = &k->call->problem;
    const int filters = (int)fc_group_outputs(p), depth = (int)fc_group_channels(p);
    const int64_t lanes = k->kernels->lanes;
    if (k->groups * filters == lanes && k->groups * depth <= lanes) {
        k->call->kernels->repeat_4(from, stride, pixels, depth, filters, to);
        return;
    }
    for (int64_t i = 0; i < pixels; i++, from += stride)
        for (int d = 0; d < depth; d++)
            for (int64_t g = 0; g < k->groups; g++)
                for (int f = 0; f < filters; f++) *to++ = from[g * depth + d];
}

/* Stages row y of the image, with its padding. */
static void stage_row(const work *k, int64_t y, char *to) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_tensor *x = &call->x;
    const int64_t depth = fc_group_channels(p), cell = k->groups * fc_group_outputs(p) * depth * k->kernels->size;
    const fc_range all = {0, cells_of(p)}, inside = fc_axis_cells_inside(-p->pad_left, all.end, p->w);
    const int64_t column = inside.first - p->pad_left, count = fc_range_count(inside);
    const int64_t at = k->image * x->stride_n + y * x->stride_h + column * x->stride_w + k->group * depth * x->stride_c;
    const char *from = (const char *)x->data + at * fc_dtype_size(x->dtype);
    int64_t stride = x->stride_w;
    if (!call->narrow_groups.x_in_place) {
        const fc_matrix pixels = fc_matrix_of(from, count, k->groups * depth, x->stride_w, x->stride_c);
        fc_stage_pixels(call->kernels, x->dtype, &pixels, k->row, k->groups * depth);
        from = k->row;
        stride = k->groups * depth;
    }
    memset(to, 0, (size_t)(inside.first * cell));
    repeat(k, (const void *)from, stride, count, (void *)(to + inside.first * cell));
    memset(to + inside.end * cell, 0, (size_t)((all.end - inside.end) * cell));
}

/* Computes some rows of these groups' outputs. */
static void compute_groups(const work *k, fc_range rows) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_tensor *y = &call->y;
    const fc_axis h = fc_axis_h(p);
    const int64_t size = k->kernels->size, row_bytes = call->narrow_groups.staging.row_bytes;
    const int64_t depth = fc_group_channels(p), channels = k->groups * fc_group_outputs(p),
                  channel = k->group * fc_group_outputs(p);
    const fc_range staged = fc_axis_cells(&h, rows);
    pack_filters(k);
    for (int64_t row = staged.first; row < staged.end; row++)
        stage_row(k, row, k->staged + (row - staged.first) * row_bytes);

    fc_depthwise_row t = {.columns = p->kw * depth,
                          .x_row = p->dilation_h * (row_bytes / size),
                          .x_column = channels,
                          .x_step = p->stride_w * depth * channels,
                          .w_row = p->kw * depth * channels,
                          .w_column = channels,
                          .y_step = call->narrow_groups.y_in_place ? y->stride_w : channels,
                          .outputs = p->ow,
                          .channels = channels,
                          .block_rows = call->sum.block_runs};
    for (int64_t oy = rows.first; oy < rows.end; oy++) {
        const fc_range taps = fc_axis_taps_inside(&h, oy);
        t.rows = fc_range_count(taps);
        t.first_block = t.block_rows - taps.first % t.block_rows;
        t.w = k->filters + taps.first * t.w_row * size;
        t.x = k->staged + (fc_axis_cell(&h, oy, taps.first) - staged.first) * row_bytes;
        const int64_t at = k->image * y->stride_n + oy * y->stride_h + channel * y->stride_c;
        char *const out = (char *)y->data + at * fc_dtype_size(y->dtype);
        t.y = call->narrow_groups.y_in_place ? out : k->sums;
        k->kernels->depthwise(&t);
        fc_apply_epilogue(call, channel, t.y, p->ow, channels, t.y_step);
        if (call->narrow_groups.y_in_place) continue;
        const fc_matrix pixels = fc_matrix_of(out, p->ow, channels, y->stride_w, y->stride_c);
        fc_store_pixels(call->kernels, y->dtype, t.y, &pixels);
    }
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->problem;
    const fc_narrow_groups_split *s = &call->narrow_groups;
    const int64_t row_task = task % s->row_tasks, together = width_of(call) / fc_group_outputs(p);
    const fc_range rows = {fc_split_start(p->oh, s->row_tasks, row_task),
                           fc_split_start(p->oh, s->row_tasks, row_task + 1)};
    work k = {.call = call,
              .kernels = fc_call_arithmetic(call),
              .image = task / s->row_tasks,
              .filters = (char *)scratch + FC_HEADER};
    k.staged = k.filters + s->packed_bytes;
    k.sums = k.staged + s->staging.bytes;
    k.row = k.sums + s->sums_bytes;
    for (; k.group < p->groups; k.group += k.groups) {
        k.groups = fc_min(together, p->groups - k.group);
        compute_groups(&k, rows);
    }
    fc_float_mode_leave(callers);
}

const fc_method fc_narrow_groups_method = {.name = "narrow_groups", .prepare = prepare, .task = compute};
