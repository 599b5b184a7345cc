/* Pooling: an image's rows of windows, or, of the gradient, one image's channels, to which its windows add. */
#include "pool.h"
#include "float_mode.h"
#include "pack.h"
#include "sizes.h"
#include "team.h"
#include <string.h>

enum {
    TASKS = 4,     /* a thread */
    CHANNELS = 16, /* of a task of the gradient, at the least: a cache line */
    LONG = 1 << 16 /* values that a row of windows, or a window, reads: from here on the clock may be looked at */
};

void fc_pool_split(fc_pool *call, int threads) {
    const int64_t wanted = threads == 1 ? 1 : fc_parts((int64_t)TASKS * threads, call->n);
    call->row_tasks = call->gradient ? 1 : fc_least(call->oh, wanted);
    call->channel_tasks = call->gradient ? fc_least(fc_parts(call->c, CHANNELS), wanted) : 1;
    call->tasks = call->n * call->row_tasks * call->channel_tasks;
}

static void cut(int64_t start, int64_t taps, int64_t size, int64_t *first, int64_t *count) {
    *first = start > 0 ? start : 0;
    *count = fc_least(start + taps, size) - *first;
}

void fc_pool_task(const fc_pool *call, int64_t task) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_gemm *kernels = fc_arithmetic(call->kernels, call->dtype);
    const int64_t size = kernels->size, channel_task = task % call->channel_tasks;
    const int64_t row_task = task / call->channel_tasks % call->row_tasks;
    const int64_t n = task / call->channel_tasks / call->row_tasks;
    const int64_t channel = fc_part_start(call->c, call->channel_tasks, channel_task);
    const fc_tensor *x = &call->x;
    const int asks = call->ow * fc_least(call->kh, call->h) * fc_least(call->kw, call->w) * call->c > LONG;
    fc_pool_window t = {.average = call->average,
                        .channels = fc_part_start(call->c, call->channel_tasks, channel_task + 1) - channel,
                        .x_row = x->stride_h,
                        .x_column = x->stride_w,
                        .place_row = call->w,
                        .dx_row = call->w * call->c,
                        .dx_column = call->c};
    /* Here rather than by the caller: fresh pages that are first read cost two faults, and threads whose pages lie side
     * by side wait for one another. */
    for (int64_t p = 0; call->gradient && p < call->h * call->w; p++)
        memset((char *)call->dx + ((n * call->h * call->w + p) * call->c + channel) * size, 0,
               (size_t)(t.channels * size));
    for (int64_t oy = fc_part_start(call->oh, call->row_tasks, row_task);
         oy < fc_part_start(call->oh, call->row_tasks, row_task + 1) && !(asks && fc_team_stopped()); oy++) {
        int64_t row, column;
        cut(oy * call->stride_h - call->pad_top, call->kh, call->h, &row, &t.rows);
        for (int64_t ox = 0; ox < call->ow; ox++) {
            cut(ox * call->stride_w - call->pad_left, call->kw, call->w, &column, &t.columns);
            if (t.rows * t.columns * t.channels > LONG && fc_team_stopped()) break;
            const int64_t from = n * x->stride_n + row * x->stride_h + column * x->stride_w + channel;
            const int64_t at = ((n * call->oh + oy) * call->ow + ox) * call->c + channel;
            const int64_t cell = ((n * call->h + row) * call->w + column) * call->c + channel;
            if (x->data) t.x = (const char *)x->data + from * size;
            if (call->gradient) {
                t.dy = (const char *)call->dy + at * size;
                t.dx = (char *)call->dx + cell * size;
                kernels->pool_gradient(&t);
            } else {
                t.y = (char *)call->y + at * size;
                t.places = call->places ? call->places + at : NULL;
                t.first_place = row * call->w + column;
                kernels->pool(&t);
            }
        }
    }
    fc_float_mode_leave(callers);
}
