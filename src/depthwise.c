/* The depthwise convolution: rows of outputs, all channels side by side; its speed is that of the memory. */
#include "depthwise.h"
#include "epilogue.h"
#include "float_mode.h"
#include "sizes.h"
#include "team.h"
#include <string.h>

enum {
    OUTPUTS = 128,     /* pixels of a task, at the least: its filters are packed anew */
    CHANNELS = 64,     /* of a task, at the least */
    TASKS = 4,         /* a thread */
    TOGETHER = 64,     /* channels of several pixels, where they have few */
    SCRATCH = 1 << 20, /* bytes of staged rows, and of sums, where one row of 64 channels takes less */
    LONG = 1 << 18     /* multiply-adds of a row from which on the clock may be looked at */
};

static int64_t multiplier(const fc_problem *p) { return p->f / p->c; }

int64_t fc_rows_reached(const fc_problem *p, int64_t rows) {
    return fc_least(p->h, (rows - 1) * p->stride_h + (p->kh - 1) * p->dilation_h + 1);
}

static int64_t channels_at_most(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    return fc_least(fc_parts(p->c, call->channel_tasks) * multiplier(p), p->f);
}

static void measure(fc_forward *call) {
    const fc_problem *p = &call->problem;
    const int64_t size = fc_arithmetic(call->kernels, call->x.dtype)->size, channels = channels_at_most(call);
    const int64_t rows = fc_parts(p->oh, call->row_tasks);
    call->tasks = p->n * call->row_tasks * call->channel_tasks;
    call->packed_bytes = fc_aligned(p->kh * p->kw * (channels + TOGETHER) * size);
    call->strip_row_bytes = fc_aligned(p->w * channels * size);
    call->strip_bytes = call->direct ? 0 : fc_rows_reached(p, rows) * call->strip_row_bytes;
    call->sums_bytes = call->in_place ? 0 : fc_aligned(p->ow * channels * size);
    call->scratch_bytes = FC_HEADER + call->packed_bytes + call->strip_bytes + call->sums_bytes;
}

static void prepare(fc_forward *call, int threads) {
    const fc_problem *p = &call->problem;
    call->pack_tasks = 0;
    const int arithmetic = !fc_is_half(call->x.dtype);
    call->direct = arithmetic && multiplier(p) == 1 && (call->x.stride_c == 1 || p->c == 1);
    call->in_place = arithmetic && (call->y.stride_c == 1 || p->f == 1);
    call->column_tasks = call->row_tasks = call->channel_tasks = 1;
    for (measure(call);; measure(call)) {
        const int64_t rows = fc_parts(p->oh, call->row_tasks), channels = channels_at_most(call);
        const int large = call->strip_bytes > SCRATCH || call->sums_bytes > SCRATCH;
        const int few = threads > 1 && call->tasks < TASKS * threads;
        const int tall = rows >= 2 && rows * p->ow >= 2 * OUTPUTS, wide = channels >= 2 * CHANNELS;
        if (!large && !few) break;
        if (tall || (large && rows >= 2 && !wide))
            call->row_tasks = fc_least(2 * call->row_tasks, p->oh);
        else if (wide || (large && channels > multiplier(p)))
            call->channel_tasks = fc_least(2 * call->channel_tasks, p->c);
        else
            break;
    }
}

/* What one task works with: output rows first_row to end_row - 1 of an image; `channels` outputs from `channel` on. */
typedef struct work {
    const fc_forward *call;
    int64_t image, first_row, end_row, channel, channels;
    int64_t size;     /* of an element in arithmetic */
    int64_t together; /* pixels computed as one of so many times the channels, for fuller vectors */
    int64_t first_y;  /* the first row of the image that is staged */
    int64_t staged;   /* rows of the image above this one are in the strip */
    char *filters, *strip, *sums;
} work;

/* [tap][pixel of those together][channel], in the arithmetic type. */
static void pack_filters(const work *k) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    const int64_t m = multiplier(p), stored = fc_dtype_size(call->x.dtype);
    char *to = k->filters;
    for (int64_t tap = 0; tap < p->kh * p->kw; tap++) {
        const int64_t at = tap / p->kw * w->h + tap % p->kw * w->w + k->channel / m * w->group;
        const char *from = (const char *)w->data + at * stored;
        if (m == 1 || w->group == m * w->column)
            fc_stage_pixels(call->kernels, call->x.dtype, from, 0, m == 1 ? w->group : w->column, 1, k->channels, to,
                            k->channels);
        else
            for (int64_t g = 0; g < k->channels / m; g++)
                fc_stage_pixels(call->kernels, call->x.dtype, from + g * w->group * stored, 0, w->column, 1, m,
                                to + g * m * k->size, m);
        const size_t bytes = (size_t)(k->channels * k->size);
        to += bytes;
        for (int64_t i = 1; i < k->together; i++, to += bytes) memcpy(to, to - bytes, bytes);
    }
}

static void repeat_4(uint32_t *elements, int64_t count, int64_t times) {
    for (int64_t i = count - 1; i >= 0; i--) {
        const uint32_t element = elements[i];
        for (int64_t t = times - 1; t >= 0; t--) elements[i * times + t] = element;
    }
}

static void repeat_8(uint64_t *elements, int64_t count, int64_t times) {
    for (int64_t i = count - 1; i >= 0; i--) {
        const uint64_t element = elements[i];
        for (int64_t t = times - 1; t >= 0; t--) elements[i * times + t] = element;
    }
}

/* Each of `count` elements `times` times, from the end, so that the copies may begin where the elements do. */
static void repeat(void *elements, int64_t size, int64_t count, int64_t times) {
    if (size == 4)
        repeat_4(elements, count, times);
    else
        repeat_8(elements, count, times);
}

void fc_stage_repeated(const fc_kernels *kernels, fc_dtype dtype, const void *from, int64_t stride_w, int64_t stride_c,
                       int64_t pixels, int64_t channels, int64_t times, void *to) {
    const int64_t size = fc_arithmetic(kernels, dtype)->size;
    fc_stage_pixels(kernels, dtype, from, stride_w, stride_c, pixels, channels, to, channels * times);
    for (int64_t i = 0; i < pixels && times > 1; i++)
        repeat((char *)to + i * channels * times * size, size, channels, times);
}

/* The image's rows that output row `oy` reaches and no row before it did, [row][column][channel], every channel as
 * often as it has filters. */
static void stage_rows(work *k, int64_t oy) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_tensor *x = &call->x;
    const int64_t m = multiplier(p), end = oy * p->stride_h - p->pad_top + (p->kh - 1) * p->dilation_h + 1;
    for (; k->staged < fc_least(end, p->h); k->staged++) {
        const int64_t at = k->image * x->stride_n + k->staged * x->stride_h + k->channel / m * x->stride_c;
        fc_stage_repeated(call->kernels, x->dtype, (const char *)x->data + at * fc_dtype_size(x->dtype), x->stride_w,
                          x->stride_c, p->w, k->channels / m, m,
                          k->strip + (k->staged - k->first_y) * call->strip_row_bytes);
    }
}

void fc_taps_inside(int64_t start, int64_t taps, int64_t dilation, int64_t size, int64_t *first, int64_t *end) {
    *first = start < 0 ? fc_least(taps, fc_parts(-start, dilation)) : 0;
    *end = start >= size ? 0 : fc_least(taps, fc_parts(size - start, dilation));
    if (*end < *first) *end = *first;
}

/* One row of outputs. `x` is where tap (0, 0) of the row's first window lies, if it does. */
static void one_row(const work *k, int64_t oy, uintptr_t x, fc_depthwise_row t, char *y) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    int64_t i, end_i;
    fc_taps_inside(oy * p->stride_h - p->pad_top, p->kh, p->dilation_h, p->h, &i, &end_i);
    const int64_t x_step = t.x_step, y_step = t.y_step;
    t.rows = end_i - i;
    t.first_block = t.block_rows - i % t.block_rows;
    for (int64_t o = 0, count; o < p->ow; o += count) {
        const int64_t start = o * p->stride_w - p->pad_left;
        int64_t j, end_j;
        fc_taps_inside(start, p->kw, p->dilation_w, p->w, &j, &end_j);
        count = 1;
        if (j == 0 && end_j == p->kw) /* and so for all windows up to the last that fits */
            count = fc_least(p->ow - o, (p->w - 1 - (p->kw - 1) * p->dilation_w - start) / p->stride_w + 1);
        t.columns = end_j - j;
        t.w = k->filters + (i * t.w_row + j * t.w_column) * k->size;
        for (int64_t done = 0, pixels; done < count; done += t.outputs * pixels) {
            pixels = fc_least(k->together, count - done);
            t.x = (const void *)(x + (uintptr_t)((i * t.x_row + j * t.x_column + (o + done) * x_step) * k->size));
            t.y = y + (o + done) * y_step * k->size;
            t.outputs = (count - done) / pixels;
            t.channels = pixels * k->channels;
            t.x_step = pixels * x_step;
            t.y_step = pixels * y_step;
            gemm->depthwise(&t);
        }
    }
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->problem;
    const fc_tensor *seen = &call->x, *y = &call->y;
    const int64_t channel_task = task % call->channel_tasks, row_task = task / call->channel_tasks % call->row_tasks;
    const int64_t m = multiplier(p), first_c = fc_part_start(p->c, call->channel_tasks, channel_task);
    work k = {.call = call,
              .image = task / call->channel_tasks / call->row_tasks,
              .first_row = fc_part_start(p->oh, call->row_tasks, row_task),
              .end_row = fc_part_start(p->oh, call->row_tasks, row_task + 1),
              .channel = first_c * m,
              .channels = (fc_part_start(p->c, call->channel_tasks, channel_task + 1) - first_c) * m,
              .size = fc_arithmetic(call->kernels, call->x.dtype)->size,
              .filters = (char *)scratch + FC_HEADER};
    k.strip = k.filters + call->packed_bytes;
    k.sums = k.strip + call->strip_bytes;

    const int64_t top = k.first_row * p->stride_h - p->pad_top;
    k.first_y = k.staged = top > 0 ? top : 0;
    uintptr_t corner = (uintptr_t)seen->data;
    int64_t row = seen->stride_h, column = seen->stride_w;
    if (call->direct) {
        corner += (uintptr_t)((k.image * seen->stride_n + k.channel) * k.size);
    } else {
        row = call->strip_row_bytes / k.size;
        column = k.channels;
        corner = (uintptr_t)k.strip - (uintptr_t)(k.first_y * row * k.size);
    }
    corner -= (uintptr_t)((p->pad_top * row + p->pad_left * column) * k.size);

    const int64_t y_step = call->in_place ? y->stride_w : k.channels;
    k.together = 1;
    if (p->stride_w == 1 && k.channels == p->f && column == k.channels && y_step == k.channels)
        k.together = fc_parts(TOGETHER, k.channels);
    pack_filters(&k);

    const fc_depthwise_row t = {.x_row = p->dilation_h * row,
                                .x_column = p->dilation_w * column,
                                .x_step = p->stride_w * column,
                                .w_row = p->kw * k.together * k.channels,
                                .w_column = k.together * k.channels,
                                .y_step = y_step,
                                .block_rows = call->sum.block_runs};
    const int asks = p->ow * k.channels * p->kh * p->kw > LONG;
    for (int64_t oy = k.first_row; oy < k.end_row && !(asks && fc_team_stopped()); oy++) {
        const int64_t at = k.image * y->stride_n + oy * y->stride_h + k.channel * y->stride_c;
        char *const out = (char *)y->data + at * fc_dtype_size(y->dtype);
        char *const sums = call->in_place ? out : k.sums;
        if (!call->direct) stage_rows(&k, oy);
        one_row(&k, oy, corner + (uintptr_t)(oy * p->stride_h * row * k.size), t, sums);
        fc_finish(call, k.channel, sums, p->ow, k.channels, y_step);
        if (!call->in_place)
            fc_store_pixels(call->kernels, y->dtype, sums, p->ow, k.channels, out, y->stride_w, y->stride_c);
    }
    fc_float_mode_leave(callers);
}

const fc_method fc_depthwise = {.name = "depthwise", .prepare = prepare, .task = compute};
