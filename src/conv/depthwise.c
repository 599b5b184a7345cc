/* The depthwise convolution: rows of outputs, all channels side by side. Small filters are as fast as the memory. */
#include "conv/depthwise.h"
#include "base/axis.h"
#include "base/float_mode.h"
#include "conv/epilogue.h"
#include "threads/team.h"
#include <string.h>

enum { LONG = 1 << 18 /* multiply-adds of a row from which on a task asks whether it is interrupted */ };

static int64_t channels_at_most(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    return fc_min(fc_ceil_div(p->c, call->depthwise.channel_tasks) * fc_group_outputs(p), p->f);
}

static void measure(fc_forward *call) {
    const fc_problem *p = &call->problem;
    const fc_axis h = fc_axis_h(p);
    fc_depthwise_split *const s = &call->depthwise;
    const int64_t size = fc_call_arithmetic(call)->size, channels = channels_at_most(call);
    const int64_t rows = fc_min(p->h, fc_axis_reach(&h, fc_ceil_div(p->oh, s->row_tasks)));
    call->tasks = p->n * s->row_tasks * s->channel_tasks;
    s->packed_bytes = fc_round_up(p->kh * p->kw * (channels + call->kernels->tuning.depthwise_merged) * size);
    s->staging.row_bytes = fc_round_up(p->w * channels * size);
    s->staging.bytes = s->x_in_place ? 0 : rows * s->staging.row_bytes;
    s->sums_bytes = s->y_in_place ? 0 : fc_round_up(p->ow * channels * size);
    call->scratch_bytes = FC_HEADER + s->packed_bytes + s->staging.bytes + s->sums_bytes;
}

/* Splits rows, then channels, until tasks are small enough for the caches and many enough for the threads. */
static void prepare(fc_forward *call, int threads) {
    const fc_problem *p = &call->problem;
    const fc_tuning *tuning = &call->kernels->tuning;
    fc_depthwise_split *const s = &call->depthwise;
    const int readable = !fc_is_converted(call->x.dtype);
    s->x_in_place = readable && fc_group_outputs(p) == 1 && (call->x.stride_c == 1 || p->c == 1);
    s->y_in_place = readable && (call->y.stride_c == 1 || p->f == 1);
    s->row_tasks = s->channel_tasks = 1;
    for (measure(call);; measure(call)) {
        const int64_t rows = fc_ceil_div(p->oh, s->row_tasks), channels = channels_at_most(call);
        const int large = s->staging.bytes > tuning->depthwise_bytes || s->sums_bytes > tuning->depthwise_bytes;
        const int few = threads > 1 && call->tasks < FC_TASKS * threads;
        const int tall = rows >= 2 && rows * p->ow >= 2 * tuning->depthwise_outputs;
        const int wide = channels >= 2 * tuning->depthwise_channels;
        if (!large && !few) break;
        if (tall || (large && rows >= 2 && !wide))
            s->row_tasks = fc_min(2 * s->row_tasks, p->oh);
        else if (wide || (large && channels > fc_group_outputs(p)))
            s->channel_tasks = fc_min(2 * s->channel_tasks, p->c);
        else
            break;
    }
}

/* What one task works with: some output rows of an image, and `channels` output channels from `channel` on. */
typedef struct work {
    const fc_forward *call;
    const fc_arithmetic *kernels;
    int64_t image, channel, channels;
    fc_range rows;
    int64_t merged;   /* pixels that are computed as one of so many times the channels, for fuller vectors */
    int64_t first_y;  /* the first row of the image that is staged */
    int64_t staged_y; /* rows of the image above this one are staged */
    char *filters, *staged, *sums;
} work;

/* Packs the filters: [tap][merged pixel][channel], in the accumulator's type. */
static void pack_filters(const work *k) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    const int64_t m = fc_group_outputs(p), stored = fc_dtype_size(call->x.dtype), size = k->kernels->size;
    const size_t bytes = (size_t)(k->channels * size);
    char *to = k->filters;
    for (int64_t tap = 0; tap < p->kh * p->kw; tap++) {
        const int64_t at = fc_tap_offset(p, w, tap) + k->channel / m * w->group;
        const char *from = (const char *)w->data + at * stored;
        if (m == 1 || w->group == m * w->column) { /* all channels at one distance */
            const fc_matrix taps = fc_matrix_of(from, 1, k->channels, 0, m == 1 ? w->group : w->column);
            fc_stage_pixels(call->kernels, call->x.dtype, &taps, to, k->channels);
        } else {
            const fc_matrix taps = fc_matrix_of(from, k->channels / m, m, w->group, w->column);
            fc_stage_pixels(call->kernels, call->x.dtype, &taps, to, m);
        }
        to += bytes;
        for (int64_t i = 1; i < k->merged; i++, to += bytes) memcpy(to, to - bytes, bytes);
    }
}

/* Stages the image's rows that output row `oy` reaches and no row before it did: [row][column][channel], every channel
 * as often as it has filters. */
static void stage_rows(work *k, int64_t oy) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_tensor *x = &call->x;
    const fc_axis h = fc_axis_h(p);
    const int64_t m = fc_group_outputs(p), end = fc_min(fc_axis_cell(&h, oy, p->kh - 1) + 1, p->h);
    for (; k->staged_y < end; k->staged_y++) {
        const int64_t at = k->image * x->stride_n + k->staged_y * x->stride_h + k->channel / m * x->stride_c;
        const fc_matrix pixels = fc_matrix_of((const char *)x->data + at * fc_dtype_size(x->dtype), p->w,
                                              k->channels / m, x->stride_w, x->stride_c);
        char *const to = k->staged + (k->staged_y - k->first_y) * call->depthwise.staging.row_bytes;
        fc_stage_repeated(call->kernels, x->dtype, &pixels, m, to);
    }
}

/* Computes one row of outputs. `x` is where tap (0, 0) of the row's first window lies or, outside the image, would lie.
 */
static void compute_row(const work *k, int64_t oy, uintptr_t x, fc_depthwise_row t, char *y) {
    const fc_problem *p = &k->call->problem;
    const fc_axis h = fc_axis_h(p), w = fc_axis_w(p);
    const fc_range rows = fc_axis_taps_inside(&h, oy), whole = fc_axis_outputs_whole(&w);
    const int64_t x_step = t.x_step, y_step = t.y_step, size = k->kernels->size;
    t.rows = fc_range_count(rows);
    t.first_block = t.block_rows - rows.first % t.block_rows;
    for (int64_t o = 0, count; o < p->ow; o += count) {
        const int is_whole = o >= whole.first && o < whole.end;
        fc_range taps = fc_axis_taps_inside(&w, o);
        count = is_whole ? whole.end - o : 1;
        t.is_edge = !is_whole && p->dilation_w == 1;
        if (t.is_edge) { /* the kernel leaves out the taps of all outputs at this edge */
            count = (o < whole.first && whole.first < whole.end ? whole.first : p->ow) - o;
            taps = (fc_range){0, p->kw};
            t.first_cell = -fc_axis_cell(&w, o, 0);
            t.end_cell = t.first_cell + p->w;
            t.stride = p->stride_w;
        }
        t.columns = fc_range_count(taps);
        t.w = k->filters + (rows.first * t.w_row + taps.first * t.w_column) * size;
        for (int64_t done = 0, pixels; done < count; done += t.outputs * pixels) {
            pixels = is_whole ? fc_min(k->merged, count - done) : 1;
            t.x =
                (const void *)(x + (uintptr_t)((rows.first * t.x_row + taps.first * t.x_column + (o + done) * x_step) *
                                               size));
            t.y = y + (o + done) * y_step * size;
            t.outputs = (count - done) / pixels;
            t.channels = pixels * k->channels;
            t.x_step = pixels * x_step;
            t.y_step = pixels * y_step;
            k->kernels->depthwise(&t);
        }
    }
}

/* Computes the task's rows. `corner` is where cell (0, 0) of the image lies, or would lie; steps count elements. */
static void compute_rows(work *k, uintptr_t corner, int64_t row, int64_t column) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_tensor *y = &call->y;
    const fc_depthwise_split *s = &call->depthwise;
    const int64_t size = k->kernels->size, y_step = s->y_in_place ? y->stride_w : k->channels;
    k->merged = 1;
    if (p->stride_w == 1 && k->channels == p->f && column == k->channels && y_step == k->channels)
        k->merged = fc_ceil_div(call->kernels->tuning.depthwise_merged, k->channels);
    pack_filters(k);
    const fc_depthwise_row t = {.x_row = p->dilation_h * row,
                                .x_column = p->dilation_w * column,
                                .x_step = p->stride_w * column,
                                .w_row = p->kw * k->merged * k->channels,
                                .w_column = k->merged * k->channels,
                                .y_step = y_step,
                                .block_rows = call->sum.block_runs};
    const int asks = p->ow * k->channels * p->kh * p->kw > LONG;
    corner -= (uintptr_t)((p->pad_top * row + p->pad_left * column) * size);
    for (int64_t oy = k->rows.first; oy < k->rows.end && !(asks && fc_team_stopped()); oy++) {
        const int64_t at = k->image * y->stride_n + oy * y->stride_h + k->channel * y->stride_c;
        char *const out = (char *)y->data + at * fc_dtype_size(y->dtype);
        char *const sums = s->y_in_place ? out : k->sums;
        if (!s->x_in_place) stage_rows(k, oy);
        compute_row(k, oy, corner + (uintptr_t)(oy * p->stride_h * row * size), t, sums);
        fc_apply_epilogue(call, k->channel, sums, p->ow, k->channels, y_step);
        if (s->y_in_place) continue;
        const fc_matrix pixels = fc_matrix_of(out, p->ow, k->channels, y->stride_w, y->stride_c);
        fc_store_pixels(call->kernels, y->dtype, sums, &pixels);
    }
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->problem;
    const fc_depthwise_split *s = &call->depthwise;
    const fc_tensor *x = &call->x;
    const int64_t channel_task = task % s->channel_tasks, row_task = task / s->channel_tasks % s->row_tasks;
    const int64_t m = fc_group_outputs(p), first_c = fc_split_start(p->c, s->channel_tasks, channel_task);
    work k = {
        .call = call,
        .kernels = fc_call_arithmetic(call),
        .image = task / s->channel_tasks / s->row_tasks,
        .rows = {fc_split_start(p->oh, s->row_tasks, row_task), fc_split_start(p->oh, s->row_tasks, row_task + 1)},
        .channel = first_c * m,
        .channels = (fc_split_start(p->c, s->channel_tasks, channel_task + 1) - first_c) * m,
        .filters = (char *)scratch + FC_HEADER};
    k.staged = k.filters + s->packed_bytes;
    k.sums = k.staged + s->staging.bytes;
    const int64_t size = k.kernels->size;
    if (s->x_in_place) {
        const uintptr_t corner = (uintptr_t)x->data + (uintptr_t)((k.image * x->stride_n + k.channel) * size);
        compute_rows(&k, corner, x->stride_h, x->stride_w);
    } else {
        const fc_axis h = fc_axis_h(p);
        const int64_t row = s->staging.row_bytes / size;
        k.first_y = k.staged_y = fc_max(fc_axis_cell(&h, k.rows.first, 0), 0);
        compute_rows(&k, (uintptr_t)k.staged - (uintptr_t)(k.first_y * row * size), row, k.channels);
    }
    fc_float_mode_leave(callers);
}

const fc_method fc_depthwise_method = {.name = "depthwise", .prepare = prepare, .task = compute};
