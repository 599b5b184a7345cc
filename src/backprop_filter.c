/* The gradient of the filters: for every output pixel, the outer product of its input window and its gradient.
 *
 * The micro-kernel is the forward one. A tile's rows are terms of the filters (tap and input channel), its columns
 * output channels, and what it sums over are output pixels: a row's values lie one window apart in the input, a
 * column's one pixel apart in the packed output gradient. Nothing is transposed, and no window is copied. */
#include "backprop_filter.h"
#include "depthwise.h"
#include "float_mode.h"
#include "pack.h"
#include "sizes.h"
#include "strip.h"
#include "winograd_gradient.h"
#include <string.h>

enum {
    PIXELS = 1024,   /* whose output gradients are packed together */
    BLOCKS = 64,     /* that hold them, at most */
    PANELS = 4,      /* of output channels, in a task: with PIXELS, half a megabyte */
    TASKS = 4,       /* a thread, for all to end together though one is interrupted */
    FEWEST_TILES = 4 /* in a task, to make up for packing */
};

static const fc_gemm *arithmetic(const fc_backprop_filter *call) {
    return fc_arithmetic(call->forward.kernels, call->forward.x.dtype);
}
static int64_t panel_width(const fc_backprop_filter *call) { return 2 * arithmetic(call)->lanes; }
static int64_t group_width(const fc_backprop_filter *call) {
    return call->forward.problem.f / call->forward.problem.groups;
}

/* A tile's terms lie in one span: a tap's channels or, where the sum is folded, all. */
static int64_t span(const fc_backprop_filter *call) {
    const fc_forward *f = &call->forward;
    return f->sum.folded ? fc_terms(&f->problem) : f->sum.run_length;
}
static int64_t tiles_of_span(const fc_backprop_filter *call) { return fc_parts(span(call), arithmetic(call)->rows); }

static int64_t column_blocks(const fc_backprop_filter *call) {
    return fc_parts(call->forward.problem.ow, call->pixels.columns);
}
static int64_t row_blocks(const fc_backprop_filter *call) {
    return fc_parts(call->forward.problem.oh, call->pixels.rows);
}

void fc_backprop_filter_split(fc_backprop_filter *call, int threads) {
    fc_forward *forward = &call->forward;
    const fc_problem *p = &forward->problem;
    const fc_pixel_sum *pixels = &call->pixels;
    const fc_gemm *gemm = arithmetic(call);
    if (forward->lanes == FC_DEPTHWISE) {
        fc_depthwise_filter_split(call, threads);
        return;
    }
    if (forward->lanes == FC_WINOGRAD) {
        fc_winograd_gradient_split(call, threads);
        return;
    }
    const int64_t size = gemm->size, panels = fc_parts(group_width(call), panel_width(call));

    forward->direct = fc_windows_in_place(forward);
    forward->images = p->n;
    forward->strip_row_bytes = forward->strip_bytes = 0;
    if (!forward->direct)
        fc_strip_size(forward, pixels->rows, pixels->columns, &forward->strip_row_bytes, &forward->strip_bytes);
    call->blocks = p->n * row_blocks(call) * column_blocks(call);
    call->blocks_at_once = forward->direct ? PIXELS / (pixels->rows * pixels->columns) : 1;
    call->blocks_at_once = fc_least(call->blocks_at_once + (call->blocks_at_once == 0), fc_least(BLOCKS, call->blocks));
    call->tiles = fc_terms(p) / span(call) * tiles_of_span(call);
    call->in_place = pixels->slices == 1 && !fc_is_half(forward->x.dtype);

    call->channel_tasks = fc_parts(panels, PANELS);
    call->term_tasks = 1;
    for (;;) {
        call->tasks = p->groups * pixels->slices * call->channel_tasks * call->term_tasks;
        if (threads == 1 || call->tasks >= TASKS * threads) break;
        if (call->tiles >= 2 * FEWEST_TILES * call->term_tasks)
            call->term_tasks *= 2;
        else if (call->channel_tasks < panels)
            call->channel_tasks = fc_least(2 * call->channel_tasks, panels);
        else if (call->term_tasks < call->tiles)
            call->term_tasks = fc_least(2 * call->term_tasks, call->tiles);
        else
            break;
    }
    const int64_t count = fc_terms(p) * p->f;
    call->sums = call->in_place ? 0 : fc_parts(count, FC_SUM_PART);
    call->partial_bytes = call->in_place ? 0 : fc_aligned(pixels->slices * count * size);
    call->packed_bytes = fc_aligned(call->blocks_at_once * pixels->rows * pixels->columns *
                                    fc_parts(panels, call->channel_tasks) * panel_width(call) * size);
    call->table_bytes = fc_aligned(call->blocks_at_once * pixels->rows * gemm->rows * (int64_t)sizeof(void *));
    call->zeros_bytes = forward->sum.folded ? forward->strip_row_bytes : 0;
    call->scratch_bytes = call->packed_bytes + call->table_bytes + call->zeros_bytes + forward->strip_bytes;
}

fc_region fc_pixel_block(const fc_backprop_filter *call, int64_t index, int64_t group) {
    const fc_problem *p = &call->forward.problem;
    const int64_t columns = column_blocks(call), rows = row_blocks(call);
    const int64_t row = index / columns % rows * call->pixels.rows, column = index % columns * call->pixels.columns;
    return (fc_region){.image = index / columns / rows,
                       .row = row,
                       .rows = fc_least(call->pixels.rows, p->oh - row),
                       .column = column,
                       .columns = fc_least(call->pixels.columns, p->ow - column),
                       .group = group};
}

/* What one task works with: tiles first_tile to end_tile - 1, and `channels` channels from `channel` on. */
typedef struct work {
    const fc_backprop_filter *call;
    int64_t group, first_tile, end_tile, channel, channels;
    char *packed, *zeros, *strip;
    const void **table;
    char *sums; /* of the task's slice: [term][f] */
} work;

/* The output gradients of these blocks, packed [panel][block][pixel][column]; blocks take the space of the largest. */
static void pack_gradients(const work *k, int64_t first, int64_t count) {
    const fc_backprop_filter *call = k->call;
    const fc_tensor *y = &call->forward.y;
    const int64_t width = panel_width(call), lanes = width / 2, size = arithmetic(call)->size;
    const int64_t channel = k->group * group_width(call) + k->channel;
    const int64_t block_bytes = call->pixels.rows * call->pixels.columns * width * size;
    char *to = k->packed;
    for (int64_t f = 0; f < k->channels; f += width) {
        const int columns = (int)fc_least(width, k->channels - f);
        const int64_t row_width = columns > lanes ? width : lanes;
        for (int64_t b = 0; b < count; b++, to += block_bytes) {
            const fc_region region = fc_pixel_block(call, first + b, k->group);
            for (int64_t r = 0; r < region.rows; r++) {
                const int64_t at = region.image * y->stride_n + (region.row + r) * y->stride_h +
                                   region.column * y->stride_w + (channel + f) * y->stride_c;
                fc_pack_panels(call->forward.kernels, y->dtype, (const char *)y->data + at * fc_dtype_size(y->dtype),
                               y->stride_w, y->stride_c, region.columns, columns, (int)row_width,
                               to + r * region.columns * row_width * size, 0);
            }
        }
    }
}

/* The output pixels of a block whose windows hold the taps of a tile. */
typedef struct inside {
    int64_t row, rows, column, columns; /* counted from the block's first */
} inside;

/* Of the outputs start to start + count - 1 along one axis, the first whose tap lies in the image, and how many. */
static void cut(int64_t start, int64_t count, int64_t stride, int64_t offset, int64_t size, int64_t *first,
                int64_t *inside) {
    const int64_t before = offset < 0 ? fc_parts(-offset, stride) : 0;
    const int64_t end = size > offset ? fc_parts(size - offset, stride) : 0;
    const int64_t low = before > start ? before : start, high = fc_least(end, start + count);
    *first = low - start;
    *inside = high > low ? high - low : 0;
}

/* Which pixels a tile sums over, and for each of their rows the address of every term's first value. */
static inside find_inputs(const work *k, const fc_region *region, const fc_view *view, int64_t first_term, int rows,
                          const void **table) {
    const fc_forward *forward = &k->call->forward;
    const fc_problem *p = &forward->problem;
    const int64_t length = forward->sum.run_length, size = arithmetic(k->call)->size;
    const uintptr_t corner = view->origin + (uintptr_t)(region->image * view->image + region->row * view->row +
                                                        region->column * view->column);
    inside in = {0, region->rows, 0, region->columns};
    if (forward->sum.folded) { /* the strip holds the padding at the sides; rows outside are zeros */
        for (int m = 0; m < rows; m++) {
            const int64_t i = (first_term + m) / length, at = (first_term + m) % length;
            const int64_t top = region->row * p->stride_h - p->pad_top + i * p->dilation_h;
            for (int64_t r = 0; r < in.rows; r++) {
                const int64_t y = top + r * p->stride_h;
                const uintptr_t value = corner + (uintptr_t)(r * view->row + i * view->tap_row + at * size);
                table[r * rows + m] = y >= 0 && y < p->h ? (const void *)value : k->zeros;
            }
        }
        return in;
    }
    const int64_t tap = first_term / length, i = tap / p->kw, j = tap % p->kw;
    cut(region->row, region->rows, p->stride_h, i * p->dilation_h - p->pad_top, p->h, &in.row, &in.rows);
    cut(region->column, region->columns, p->stride_w, j * p->dilation_w - p->pad_left, p->w, &in.column, &in.columns);
    if (in.columns == 0) in.rows = 0;
    const uintptr_t first = corner + (uintptr_t)(in.row * view->row + in.column * view->column + i * view->tap_row +
                                                 j * view->tap_column + first_term % length * size);
    for (int64_t r = 0; r < in.rows; r++)
        for (int m = 0; m < rows; m++)
            table[r * rows + m] = (const void *)(first + (uintptr_t)(r * view->row + m * size));
    return in;
}

/* Adds these blocks of the sum, at most blocks_at_once. */
static void add_blocks(const work *k, int64_t first, int64_t count, int is_first) {
    const fc_backprop_filter *call = k->call;
    const fc_forward *forward = &call->forward;
    const fc_gemm *gemm = arithmetic(call);
    const int64_t size = gemm->size, f_all = forward->problem.f, width = panel_width(call);
    const int64_t block_bytes = call->pixels.rows * call->pixels.columns * width * size;
    const int64_t of_span = tiles_of_span(call), terms_of_span = span(call);
    const fc_view view = forward->direct ? fc_direct_view(forward, k->group) : (fc_view){0};
    fc_region regions[BLOCKS];
    inside in[BLOCKS];
    for (int64_t b = 0; b < count; b++) regions[b] = fc_pixel_block(call, first + b, k->group);
    const fc_view staged = forward->direct ? view : fc_stage_strip(forward, &regions[0], k->strip);
    pack_gradients(k, first, count);

    for (int64_t t = k->first_tile; t < k->end_tile; t++) {
        const int64_t start = fc_part_start(terms_of_span, of_span, t % of_span);
        const int rows = (int)(fc_part_start(terms_of_span, of_span, t % of_span + 1) - start);
        const int64_t term = t / of_span * terms_of_span + start, table_step = call->pixels.rows * gemm->rows;
        for (int64_t b = 0; b < count; b++)
            in[b] = find_inputs(k, &regions[b], &staged, term, rows, k->table + b * table_step);

        fc_tiles tile = {.count = 1, .step = staged.column / size, .sums_stride = f_all, .ahead = k->packed};
        const char *packed = k->packed;
        for (int64_t f = 0; f < k->channels; f += width) {
            tile.columns = (int)fc_least(width, k->channels - f);
            const int vectors = tile.columns > gemm->lanes ? 2 : 1;
            fc_gemm_fn *const kernel = (vectors == 2 ? gemm->tile2 : gemm->tile1)[rows - 1];
            tile.filters_stride = vectors * gemm->lanes;
            tile.sums = k->sums + (term * f_all + k->group * group_width(call) + k->channel + f) * size;
            for (int64_t b = 0; b < count; b++, packed += block_bytes) {
                const int64_t columns = regions[b].columns;
                tile.runs = k->table + b * table_step;
                tile.run_count = tile.block_runs = in[b].rows;
                tile.run_length = tile.chunk = in[b].columns;
                tile.filters = packed + (in[b].row * columns + in[b].column) * tile.filters_stride * size;
                tile.filters_skip = (columns - in[b].columns) * tile.filters_stride;
                tile.accumulate = !(is_first && b == 0);
                kernel(&tile);
            }
        }
    }
}

void fc_backprop_filter_task(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    if (call->forward.lanes == FC_DEPTHWISE) {
        fc_depthwise_filter_task(call, task, scratch, partial);
        return;
    }
    if (call->forward.lanes == FC_WINOGRAD) {
        fc_winograd_gradient_task(call, task, scratch, partial);
        return;
    }
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_forward *forward = &call->forward;
    const fc_problem *p = &forward->problem;
    const int64_t slices = call->pixels.slices, panels = fc_parts(group_width(call), panel_width(call));
    const int64_t term_task = task % call->term_tasks;
    task /= call->term_tasks;
    const int64_t channel_task = task % call->channel_tasks;
    task /= call->channel_tasks;
    const int64_t slice = task % slices;

    work k = {.call = call, .group = task / slices};
    k.first_tile = fc_part_start(call->tiles, call->term_tasks, term_task);
    k.end_tile = fc_part_start(call->tiles, call->term_tasks, term_task + 1);
    k.channel = fc_part_start(panels, call->channel_tasks, channel_task) * panel_width(call);
    k.channels =
        fc_least(fc_part_start(panels, call->channel_tasks, channel_task + 1) * panel_width(call), group_width(call));
    k.channels -= k.channel;
    k.packed = scratch;
    k.table = (const void **)(k.packed + call->packed_bytes);
    k.zeros = (char *)k.table + call->table_bytes;
    k.strip = k.zeros + call->zeros_bytes;
    k.sums = call->in_place ? call->w : (char *)partial + slice * fc_terms(p) * p->f * arithmetic(call)->size;
    memset(k.zeros, 0, (size_t)call->zeros_bytes);

    const int64_t start = fc_part_start(call->blocks, slices, slice),
                  end = fc_part_start(call->blocks, slices, slice + 1);
    for (int64_t b = start; b < end; b += call->blocks_at_once)
        add_blocks(&k, b, fc_least(call->blocks_at_once, end - b), b == start);
    fc_float_mode_leave(callers);
}

void fc_backprop_filter_sum(const fc_backprop_filter *call, int64_t sum, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_forward *forward = &call->forward;
    const fc_dtype dtype = forward->x.dtype;
    const int64_t size = arithmetic(call)->size, total = fc_terms(&forward->problem) * forward->problem.f;
    const int64_t first = sum * FC_SUM_PART, count = fc_least(FC_SUM_PART, total - first);
    char *const sums = (char *)partial + first * size;
    for (int64_t step = 1; step < call->pixels.slices; step *= 2)
        for (int64_t s = 0; s + step < call->pixels.slices; s += 2 * step)
            arithmetic(call)->add_sums(sums + (s + step) * total * size, count, sums + s * total * size);
    fc_store_pixels(forward->kernels, dtype, sums, 1, count, (char *)call->w + first * fc_dtype_size(dtype), count, 1);
    fc_float_mode_leave(callers);
}

fc_verdict fc_backprop_filter_verdict(const fc_backprop_filter *call, void *partial) {
    return call->forward.lanes == FC_WINOGRAD ? fc_winograd_gradient_verdict(call, partial) : FC_SOUND;
}
