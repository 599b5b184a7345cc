/* Pooling: an image's rows of windows, or, of the gradient, one image's channels, to which its windows add. */
#include "layers/pool.h"
#include "base/float_mode.h"
#include "base/axis.h"
#include "threads/team.h"
#include <string.h>

enum {
    CHANNELS = 16, /* of a task of the gradient, at least: a cache line */
    LONG = 1 << 16 /* values of a row of windows, or of a window, from which on a task asks whether it is interrupted */
};

void fc_pool_split(fc_pool *call, int threads) {
    const int64_t wanted = threads == 1 ? 1 : fc_ceil_div((int64_t)FC_TASKS * threads, call->n);
    call->row_tasks = call->gradient ? 1 : fc_min(call->oh, wanted);
    call->channel_tasks = call->gradient ? fc_min(fc_ceil_div(call->c, CHANNELS), wanted) : 1;
    call->tasks = call->n * call->row_tasks * call->channel_tasks;
}

/* The cells of the image in a window that begins at `start`. */
static fc_range cells_of(int64_t start, int64_t taps, int64_t size) {
    return fc_range_within((fc_range){0, size}, (fc_range){start, start + taps});
}

/* Fills the gradient of some channels of an image with zeros. Tasks do this rather than the caller: fresh pages that
 * are first read cost two faults, and threads whose pages lie side by side wait for one another. */
static void clear_gradient(const fc_pool *call, int64_t image, int64_t channel, int64_t channels) {
    const int64_t size = fc_arithmetic_of(call->kernels, call->dtype)->size, pixels = call->h * call->w;
    for (int64_t p = 0; p < pixels; p++)
        memset((char *)call->dx + ((image * pixels + p) * call->c + channel) * size, 0, (size_t)(channels * size));
}

/* Pools one row of windows, or adds their gradients; `t` has what all windows share. */
static void pool_row(const fc_pool *call, int64_t image, int64_t oy, int64_t channel, fc_pool_window t) {
    const fc_arithmetic *kernels = fc_arithmetic_of(call->kernels, call->dtype);
    const fc_tensor *x = &call->x;
    const fc_range rows = cells_of(oy * call->stride_h - call->pad_top, call->kh, call->h);
    t.rows = fc_range_count(rows);
    for (int64_t ox = 0; ox < call->ow; ox++) {
        const fc_range columns = cells_of(ox * call->stride_w - call->pad_left, call->kw, call->w);
        t.columns = fc_range_count(columns);
        if (t.rows * t.columns * t.channels > LONG && fc_team_stopped()) break;
        const int64_t at = ((image * call->oh + oy) * call->ow + ox) * call->c + channel;
        const int64_t cell = ((image * call->h + rows.first) * call->w + columns.first) * call->c + channel;
        const int64_t from = image * x->stride_n + rows.first * x->stride_h + columns.first * x->stride_w + channel;
        if (x->data) t.x = (const char *)x->data + from * kernels->size;
        if (call->gradient) {
            t.dy = (const char *)call->dy + at * kernels->size;
            t.dx = (char *)call->dx + cell * kernels->size;
            kernels->pool_gradient(&t);
        } else {
            t.y = (char *)call->y + at * kernels->size;
            t.places = call->places ? call->places + at : NULL;
            t.first_place = rows.first * call->w + columns.first;
            kernels->pool(&t);
        }
    }
}

void fc_pool_task(const fc_pool *call, int64_t task) {
    const fc_float_mode callers = fc_float_mode_enter();
    const int64_t channel_task = task % call->channel_tasks;
    const int64_t row_task = task / call->channel_tasks % call->row_tasks;
    const int64_t image = task / call->channel_tasks / call->row_tasks;
    const int64_t channel = fc_split_start(call->c, call->channel_tasks, channel_task);
    const int64_t end = fc_split_start(call->oh, call->row_tasks, row_task + 1);
    const int asks = call->ow * fc_min(call->kh, call->h) * fc_min(call->kw, call->w) * call->c > LONG;
    const fc_pool_window t = {.average = call->average,
                              .channels = fc_split_start(call->c, call->channel_tasks, channel_task + 1) - channel,
                              .x_row = call->x.stride_h,
                              .x_column = call->x.stride_w,
                              .place_row = call->w,
                              .dx_row = call->w * call->c,
                              .dx_column = call->c};
    if (call->gradient) clear_gradient(call, image, channel, t.channels);
    for (int64_t oy = fc_split_start(call->oh, call->row_tasks, row_task); oy < end && !(asks && fc_team_stopped());
         oy++)
        pool_row(call, image, oy, channel, t);
    fc_float_mode_leave(callers);
}
