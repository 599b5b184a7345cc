/* The gradient of depthwise filters: for every tap, the products of the cells that it meets and the outputs' gradients.
 */
#include "depthwise_filter.h"
#include "depthwise.h"
#include "float_mode.h"
#include "pixel_blocks.h"
#include "sizes.h"
#include "team.h"
#include <string.h>

enum {
    CHANNELS = 32, /* of a task, at the least */
    TASKS = 4      /* a thread */
};

static int64_t multiplier(const fc_problem *p) { return p->f / p->c; }

static void prepare(fc_backprop_filter *call, int threads) {
    fc_forward *forward = &call->forward;
    const fc_problem *p = &forward->problem;
    const fc_pixel_sum *pixels = &call->pixels;
    const int64_t size = fc_arithmetic(forward->kernels, forward->x.dtype)->size;
    const int arithmetic = !fc_is_half(forward->x.dtype);
    forward->direct = arithmetic && multiplier(p) == 1 && forward->x.stride_c == 1;
    forward->in_place = arithmetic && forward->y.stride_c == 1; /* the output's gradient is read where it is */
    call->blocks = p->n * fc_parts(p->oh, pixels->rows) * fc_parts(p->ow, pixels->columns);
    call->channel_tasks = 1;
    while (threads > 1 && pixels->slices * call->channel_tasks < TASKS * threads &&
           p->f >= 2 * CHANNELS * call->channel_tasks && p->c >= 2 * call->channel_tasks)
        call->channel_tasks *= 2;
    call->tasks = pixels->slices * call->channel_tasks;

    const int64_t channels = fc_parts(p->c, call->channel_tasks) * multiplier(p);
    const int64_t rows = fc_least(p->h, (pixels->rows - 1) * p->stride_h + (p->kh - 1) * p->dilation_h + 1);
    forward->strip_row_bytes = fc_aligned(p->w * channels * size);
    forward->strip_bytes = forward->direct ? 0 : rows * forward->strip_row_bytes;
    call->packed_bytes = forward->in_place ? 0 : fc_aligned(pixels->rows * pixels->columns * channels * size);
    fc_split_slices(call);
    call->scratch_bytes = forward->strip_bytes + call->packed_bytes;
}

/* What one task works with. */
typedef struct work {
    const fc_backprop_filter *call;
    int64_t channel, channels, size;
    char *strip, *packed, *sums;
} work;

/* A block's data: addresses of image cell (0, 0) and of output (0, 0), as if whole images were there; steps count
 * elements. */
typedef struct source {
    uintptr_t x, y;
    int64_t x_row, x_column, y_row, y_column;
} source;

/* The block's inputs and output gradients, in place or staged. */
static source read_block(const work *k, const fc_region *region) {
    const fc_forward *forward = &k->call->forward;
    const fc_problem *p = &forward->problem;
    const fc_tensor *x = &forward->x, *y = &forward->y;
    const int64_t m = multiplier(p), stored = fc_dtype_size(x->dtype);
    const int64_t x_image = region->image * x->stride_n + k->channel / m * x->stride_c;
    const int64_t y_image = region->image * y->stride_n + k->channel * y->stride_c;
    source from = {(uintptr_t)x->data + (uintptr_t)(x_image * stored),
                   (uintptr_t)y->data + (uintptr_t)(y_image * stored),
                   x->stride_h,
                   x->stride_w,
                   y->stride_h,
                   y->stride_w};
    if (!forward->direct) {
        const int64_t top = region->row * p->stride_h - p->pad_top, first = top > 0 ? top : 0;
        const int64_t bottom = top + (region->rows - 1) * p->stride_h + (p->kh - 1) * p->dilation_h;
        const int64_t end = fc_least(p->h, bottom + 1);
        for (int64_t r = first; r < end; r++)
            fc_stage_repeated(forward->kernels, x->dtype,
                              (const void *)(from.x + (uintptr_t)(r * x->stride_h * stored)), x->stride_w, x->stride_c,
                              p->w, k->channels / m, m, k->strip + (r - first) * forward->strip_row_bytes);
        from.x_row = forward->strip_row_bytes / k->size;
        from.x_column = k->channels;
        from.x = (uintptr_t)k->strip - (uintptr_t)(first * from.x_row * k->size);
    }
    if (!forward->in_place) {
        from.y_column = k->channels;
        from.y_row = region->columns * k->channels;
        for (int64_t r = 0; r < region->rows; r++) {
            const int64_t at = (region->row + r) * y->stride_h + region->column * y->stride_w;
            fc_stage_pixels(forward->kernels, y->dtype, (const void *)(from.y + (uintptr_t)(at * stored)), y->stride_w,
                            y->stride_c, region->columns, k->channels, k->packed + r * from.y_row * k->size,
                            k->channels);
        }
        from.y =
            (uintptr_t)k->packed - (uintptr_t)((region->row * from.y_row + region->column * from.y_column) * k->size);
    }
    return from;
}

/* Adds one row of taps' sums over the block. The outputs all of whose taps lie inside the image come first, then those
 * at the sides, tap by tap. */
static void add_tap_row(const work *k, const fc_region *region, const source *from, int64_t i) {
    const fc_forward *forward = &k->call->forward;
    const fc_problem *p = &forward->problem;
    const fc_gemm *gemm = fc_arithmetic(forward->kernels, forward->x.dtype);
    const int64_t top = i * p->dilation_h - p->pad_top; /* the input row of output row 0 */
    int64_t row, row_end;
    fc_taps_inside(top, region->row + region->rows, p->stride_h, p->h, &row, &row_end);
    if (row < region->row) row = region->row;
    if (row_end <= row) return;
    fc_depthwise_gradient t = {.rows = row_end - row,
                               .x_row = p->stride_h * from->x_row,
                               .x_step = p->stride_w * from->x_column,
                               .x_column = p->dilation_w * from->x_column,
                               .y_row = from->y_row,
                               .y_step = from->y_column,
                               .w_column = p->f,
                               .channels = k->channels};
    const int64_t end = region->column + region->columns;
    int64_t first[2], last[2]; /* outputs whose first and whose last tap lie inside */
    fc_taps_inside(-p->pad_left, end, p->stride_w, p->w, &first[0], &first[1]);
    fc_taps_inside((p->kw - 1) * p->dilation_w - p->pad_left, end, p->stride_w, p->w, &last[0], &last[1]);
    const int64_t low = first[0] > region->column ? first[0] : region->column;
    const int64_t high = last[1] > low ? last[1] : low;
    for (int64_t j = -1; j < p->kw; j++) {
        int64_t from_o = low, to_o = high;
        for (int side = 0; side < 2; side++) {
            if (j >= 0) {
                fc_taps_inside(j * p->dilation_w - p->pad_left, end, p->stride_w, p->w, &from_o, &to_o);
                if (from_o < region->column) from_o = region->column;
                if (side == 0) to_o = fc_least(to_o, low);
                if (side == 1 && from_o < high) from_o = high;
            } else if (side == 1) {
                break;
            }
            if (to_o <= from_o) continue;
            const int64_t tap = j < 0 ? 0 : j;
            const int64_t x = (top + row * p->stride_h) * from->x_row +
                              (from_o * p->stride_w + tap * p->dilation_w - p->pad_left) * from->x_column;
            t.x = (const void *)(from->x + (uintptr_t)(x * k->size));
            t.y = (const void *)(from->y + (uintptr_t)((row * from->y_row + from_o * from->y_column) * k->size));
            t.w = k->sums + ((i * p->kw + tap) * p->f + k->channel) * k->size;
            t.columns = to_o - from_o;
            t.taps = j < 0 ? p->kw : 1;
            gemm->depthwise_gradient(&t);
        }
    }
}

static void compute(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_forward *forward = &call->forward;
    const fc_problem *p = &forward->problem;
    const int64_t channel_task = task % call->channel_tasks, slice = task / call->channel_tasks, m = multiplier(p);
    const int64_t first = fc_part_start(p->c, call->channel_tasks, channel_task);
    work k = {.call = call,
              .channel = first * m,
              .channels = (fc_part_start(p->c, call->channel_tasks, channel_task + 1) - first) * m,
              .size = fc_arithmetic(forward->kernels, forward->x.dtype)->size,
              .strip = scratch,
              .packed = (char *)scratch + forward->strip_bytes};
    k.sums = call->in_place ? call->w : (char *)partial + slice * p->kh * p->kw * p->f * k.size;
    for (int64_t tap = 0; tap < p->kh * p->kw; tap++)
        memset(k.sums + (tap * p->f + k.channel) * k.size, 0, (size_t)(k.channels * k.size));

    int64_t start, end;
    fc_blocks_of_slice(call, slice, &start, &end);
    for (int64_t b = start; b < end && !fc_team_stopped(); b++) {
        const fc_region region = fc_pixel_block(call, b, 0);
        const source from = read_block(&k, &region);
        for (int64_t i = 0; i < p->kh; i++) add_tap_row(&k, &region, &from, i);
    }
    fc_float_mode_leave(callers);
}

const fc_filter_method fc_depthwise_filter = {.name = "depthwise", .prepare = prepare, .task = compute};
