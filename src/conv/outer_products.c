/* The gradient of the filters: for every output pixel, the outer product of its input window and its gradient.
 *
 * The micro-kernel is the forward one. A register tile's rows are terms of the filters (tap and input channel), its
 * columns output channels, and what it sums over are output pixels. A row's values lie one window apart in the input,
 * in place or staged; a column's lie one pixel apart in the output's gradient, in place or packed. */
#include "conv/outer_products.h"
#include "base/float_mode.h"
#include "conv/pixel_blocks.h"
#include "threads/team.h"
#include <string.h>

enum { BLOCKS = 16 /* of pixels that are packed together, at most */ };

static int64_t group_width(const fc_backprop_filter *call) { return fc_group_outputs(&call->problem); }

/* A tile's terms lie in one span: a tap's channels or, where the sum is folded, all terms. */
static int64_t span(const fc_backprop_filter *call) {
    return call->sum.folded ? fc_terms(&call->problem) : call->sum.run_length;
}
static int64_t tiles_of_span(const fc_backprop_filter *call) {
    return fc_ceil_div(span(call), fc_filter_arithmetic(call)->mr);
}

/* What it takes to stage the inputs of all blocks that are added at once. */
static fc_staging staging_of(const fc_backprop_filter *call) {
    const fc_problem *p = &call->problem;
    const fc_input in = fc_filter_input(call);
    const int64_t at_once = call->outer_products.blocks_at_once, rows = call->pixels.rows,
                  wide = fc_column_blocks(call);
    return fc_staging_of(&in, fc_min(fc_max(at_once / wide, 1) * rows, p->oh),
                         fc_min(fc_min(at_once, wide) * call->pixels.columns, p->ow));
}

/* Decides whether inputs are read in place, or staged. */
static void choose_staging(fc_backprop_filter *call) {
    const fc_problem *p = &call->problem;
    const fc_tuning *tuning = &call->kernels->tuning;
    const fc_input in = fc_filter_input(call);
    fc_outer_products_split *const s = &call->outer_products;
    const int64_t products = fc_terms(p) / s->term_tasks * group_width(call) / s->channel_tasks;
    const int64_t step = call->x.stride_w < 0 ? -call->x.stride_w : call->x.stride_w;
    const int gains = step >= tuning->outer_far && products >= tuning->outer_uses * fc_group_channels(p);
    s->staging = staging_of(call);
    s->x_in_place = fc_windows_in_place(&in) && (!gains || s->staging.bytes > tuning->outer_stage_bytes);
    if (s->x_in_place) {
        s->staging = (fc_staging){0};
    } else if (s->staging.bytes > tuning->outer_stage_bytes) {
        s->blocks_at_once = 1;
        s->staging = staging_of(call);
    }
}

/* Whether the output's gradient is read in place, where that is possible and its rows go on without a gap. */
static int reads_unpacked(const fc_backprop_filter *call) {
    const fc_tensor *dy = &call->dy;
    const fc_tuning *tuning = &call->kernels->tuning;
    const int64_t step = dy->stride_w < 0 ? -dy->stride_w : dy->stride_w;
    const int in_a_row = call->pixels.rows == 1 && dy->stride_h == call->problem.ow * dy->stride_w;
    return dy->stride_c == 1 && !fc_is_converted(dy->dtype) && step <= tuning->outer_near &&
           (fc_column_blocks(call) == 1 || in_a_row) &&
           call->outer_products.tiles / call->outer_products.term_tasks <= tuning->outer_unpacked;
}

/* Splits terms and channels into tasks until there are enough for the threads. */
static void split_tasks(fc_backprop_filter *call, int64_t panels, int threads) {
    fc_outer_products_split *const s = &call->outer_products;
    const int64_t least = call->kernels->tuning.outer_least_tiles;
    s->channel_tasks = fc_ceil_div(panels, call->kernels->tuning.outer_panels);
    s->term_tasks = 1;
    for (;;) {
        call->tasks = call->problem.groups * call->pixels.slices * s->channel_tasks * s->term_tasks;
        if (threads == 1 || call->tasks >= FC_TASKS * threads) break;
        if (s->tiles >= 2 * least * s->term_tasks)
            s->term_tasks *= 2;
        else if (s->channel_tasks < panels)
            s->channel_tasks = fc_min(2 * s->channel_tasks, panels);
        else if (s->term_tasks < s->tiles)
            s->term_tasks = fc_min(2 * s->term_tasks, s->tiles);
        else
            break;
    }
}

static void prepare(fc_backprop_filter *call, int threads) {
    const fc_pixel_sum *pixels = &call->pixels;
    const fc_arithmetic *gemm = fc_filter_arithmetic(call);
    const int64_t panels = fc_ceil_div(group_width(call), gemm->nr), of_block = pixels->rows * pixels->columns;
    const fc_tuning *tuning = &call->kernels->tuning;
    fc_outer_products_split *const s = &call->outer_products;
    call->blocks = fc_pixel_blocks(call);
    s->blocks_at_once = fc_min(fc_max(fc_min(tuning->outer_pixels / of_block, BLOCKS), 1), call->blocks);
    s->tiles = fc_terms(&call->problem) / span(call) * tiles_of_span(call);
    split_tasks(call, panels, threads);
    choose_staging(call);
    s->unpacked = reads_unpacked(call);
    fc_split_slices(call);
    const int64_t columns = fc_ceil_div(panels, s->channel_tasks) * gemm->nr;
    const int64_t addresses = tuning->outer_tiles * s->blocks_at_once * pixels->rows * gemm->mr;
    s->packed_bytes = fc_round_up(s->blocks_at_once * of_block * columns * gemm->size);
    s->indirection_bytes = fc_round_up(addresses * (int64_t)sizeof(void *));
    s->zeros_bytes = call->sum.folded ? s->staging.row_bytes : 0;
    call->scratch_bytes = s->packed_bytes + s->indirection_bytes + s->zeros_bytes + s->staging.bytes;
}

/* What one task works with: some tiles, and `channels` channels from `channel` on. */
typedef struct work {
    const fc_backprop_filter *call;
    const fc_arithmetic *gemm;
    int64_t group, slice, channel, channels;
    fc_range tiles;
    int unpacked; /* 1: the task's channels are whole vectors within a pixel, and read there */
    char *packed, *zeros, *staged;
    const void **indirection;
    char *sums; /* of the task's slice: [term][f] */
} work;

/* Packs the output gradients of some blocks: [panel][block][pixel][column]. */
static void pack_gradients(const work *k, const fc_region *regions, int64_t count) {
    const fc_tensor *dy = &k->call->dy;
    const fc_arithmetic *gemm = k->gemm;
    const int64_t channel = k->group * group_width(k->call) + k->channel;
    char *to = k->packed;
    for (int64_t f = 0; f < k->channels; f += gemm->nr) {
        const int64_t columns = fc_min(gemm->nr, k->channels - f), width = fc_vector_columns(gemm, columns);
        for (const fc_region *region = regions; region < regions + count; region++)
            for (int64_t r = 0; r < region->rows; r++, to += region->columns * width * gemm->size) {
                const int64_t at = region->image * dy->stride_n + (region->row + r) * dy->stride_h +
                                   region->column * dy->stride_w + (channel + f) * dy->stride_c;
                const char *const first = (const char *)dy->data + at * fc_dtype_size(dy->dtype);
                const fc_matrix pixels = fc_matrix_of(first, region->columns, columns, dy->stride_w, dy->stride_c);
                fc_pack_panels(k->call->kernels, dy->dtype, &pixels, (int)width, to, 0);
            }
    }
}

/* The output pixels of a block whose windows hold a tap inside the image, counted from the block's first. */
typedef struct inside {
    int64_t row, rows, column, columns;
} inside;

static inside pixels_inside(const work *k, const fc_region *region, int64_t tap) {
    const fc_problem *p = &k->call->problem;
    if (k->call->sum.folded) /* padding at the sides is staged; rows outside are zeros */
        return (inside){0, region->rows, 0, region->columns};
    const fc_axis h = fc_axis_h(p), w = fc_axis_w(p);
    const fc_range rows = fc_axis_outputs_inside(&h, (fc_range){region->row, region->row + region->rows}, tap / p->kw);
    const fc_range columns =
        fc_axis_outputs_inside(&w, (fc_range){region->column, region->column + region->columns}, tap % p->kw);
    const int64_t count = fc_range_count(columns);
    return (inside){rows.first - region->row, count ? fc_range_count(rows) : 0, columns.first - region->column, count};
}

/* For each row of these pixels, the address of the first value of every term of a tile; returns the end. */
static const void **find_inputs(const work *k, const fc_region *region, const fc_view *view, const inside *in,
                                int64_t first_term, int rows, const void **to) {
    const fc_problem *p = &k->call->problem;
    const fc_axis h = fc_axis_h(p);
    const int64_t length = k->call->sum.run_length, size = k->gemm->size;
    const uintptr_t corner = view->origin + (uintptr_t)(region->image * view->image + region->row * view->row +
                                                        region->column * view->column);
    if (k->call->sum.folded) {
        for (int64_t r = 0; r < in->rows; r++)
            for (int m = 0; m < rows; m++) {
                const int64_t i = (first_term + m) / length, at = (first_term + m) % length;
                const int64_t y = fc_axis_cell(&h, region->row + r, i);
                const uintptr_t value = corner + (uintptr_t)(r * view->row + i * view->tap_row + at * size);
                *to++ = y >= 0 && y < p->h ? (const void *)value : k->zeros;
            }
        return to;
    }
    const int64_t tap = first_term / length, i = tap / p->kw, j = tap % p->kw;
    const uintptr_t first = corner + (uintptr_t)(in->row * view->row + in->column * view->column + i * view->tap_row +
                                                 j * view->tap_column + first_term % length * size);
    for (int64_t r = 0; r < in->rows; r++)
        for (int m = 0; m < rows; m++) *to++ = (const void *)(first + (uintptr_t)(r * view->row + m * size));
    return to;
}

/* How many of the next blocks are added at once: those of a row of blocks or, if that has fewer, of whole rows of an
 * image, which are staged together. */
static int64_t next_blocks(const fc_backprop_filter *call, int64_t first, int64_t end) {
    const int64_t columns = fc_column_blocks(call), rows = fc_row_blocks(call),
                  most = call->outer_products.blocks_at_once;
    const int64_t left_in_row = columns - first % columns, left_in_image = (rows - first / columns % rows) * columns;
    if (left_in_row < columns || most < 2 * columns || end - first < columns)
        return fc_min(most, fc_min(left_in_row, end - first));
    return fc_min(most, fc_min(left_in_image, end - first)) / columns * columns;
}

/* The rectangle from one block's first output to another's last. */
static fc_region around(const fc_region *first, const fc_region *last) {
    fc_region all = *first;
    all.rows = last->row + last->rows - first->row;
    all.columns = last->column + last->columns - first->column;
    return all;
}

/* Some blocks, packed one after the other, whose pixels a tap meets in the same way: one call of the kernel sums them.
 */
typedef struct stretch {
    int64_t block, blocks;
    inside in;
    const void **indirection; /* [tile][row of pixels][term] */
} stretch;

static int alike(const inside *a, const inside *b) {
    return a->row == b->row && a->rows == b->rows && a->column == b->column && a->columns == b->columns;
}

/* The next stretch from a block on. */
static stretch stretch_at(const work *k, const fc_region *regions, int64_t count, int64_t block, int64_t tap) {
    stretch s = {.block = block, .blocks = 1, .in = pixels_inside(k, &regions[block], tap)};
    while (s.in.rows == regions[block].rows && block + s.blocks < count) {
        const inside in = pixels_inside(k, &regions[block + s.blocks], tap);
        if (!alike(&in, &s.in)) break; /* smaller blocks, the last ones, are not */
        s.blocks++;
    }
    return s;
}

/* Tiles of as many terms each, which lie in one span, one after the other. */
typedef struct tiles {
    int64_t term, count;
    int rows;
} tiles;

/* The next of them from a tile on. The first tiles of a span have a term more than the others, if they differ. */
static tiles tiles_at(const fc_backprop_filter *call, int64_t tile, int64_t end) {
    const int64_t of_span = tiles_of_span(call), each = span(call) / of_span, longer = span(call) % of_span;
    const int64_t index = tile % of_span, first = tile - index;
    const int64_t last = first + (index < longer ? longer : of_span);
    const int64_t term = first / of_span * span(call) + index * each + fc_min(index, longer);
    const int64_t count = fc_min(call->kernels->tuning.outer_tiles, fc_min(last, end) - tile);
    return (tiles){.term = term, .count = count, .rows = (int)(each + (index < longer))};
}

/* Blocks that are added at once. */
typedef struct chunk {
    int64_t count;
    fc_region regions[BLOCKS];
    int64_t pixels[BLOCKS + 1]; /* of the blocks before */
    fc_view view;               /* of their inputs */
} chunk;

/* Points at a stretch's output gradients from channel `f` of the task on: packed, or where they lie. */
static void point_at_gradients(const work *k, const chunk *c, const stretch *s, int64_t f, fc_tiles *tile) {
    const fc_tensor *dy = &k->call->dy;
    const fc_region *region = &c->regions[s->block];
    const int64_t size = k->gemm->size;
    if (k->unpacked) {
        const int64_t row = region->row + s->in.row, column = region->column + s->in.column;
        const int64_t channel = k->group * group_width(k->call) + k->channel + f;
        const int64_t at = region->image * dy->stride_n + row * dy->stride_h + column * dy->stride_w + channel;
        const int64_t next = fc_column_blocks(k->call) > 1 ? region->columns * dy->stride_w : dy->stride_h;
        tile->filters = (const char *)dy->data + at * size;
        tile->filters_stride = dy->stride_w;
        tile->filters_skip = next - s->in.columns * dy->stride_w;
    } else {
        const int64_t panel = c->pixels[c->count] * f, pixel = s->in.row * region->columns + s->in.column;
        tile->filters_stride = fc_vector_columns(k->gemm, tile->columns);
        tile->filters = k->packed + (panel + (c->pixels[s->block] + pixel) * tile->filters_stride) * size;
        tile->filters_skip = (region->columns - s->in.columns) * tile->filters_stride;
    }
}

/* Adds these tiles' sums over a chunk, which consists of these stretches. */
static void add_tiles(const work *k, const chunk *c, const tiles *t, const stretch *stretches, int parts,
                      int is_first) {
    const fc_arithmetic *gemm = k->gemm;
    const int64_t f_all = k->call->problem.f;
    fc_tiles tile = {
        .count = t->count, .step = c->view.column / gemm->size, .sums_stride = f_all, .prefetch = k->packed};
    for (int64_t f = 0; f < k->channels; f += gemm->nr) {
        tile.columns = (int)fc_min(gemm->nr, k->channels - f);
        tile.sums = k->sums + (t->term * f_all + k->group * group_width(k->call) + k->channel + f) * gemm->size;
        fc_gemm_fn *const kernel = fc_tiles_of(gemm, tile.columns)[t->rows - 1];
        for (int i = 0; i < parts; i++) {
            const stretch *s = &stretches[i];
            tile.batch = s->indirection;
            tile.block_runs = s->in.rows;
            tile.batch_size = s->blocks * s->in.rows;
            tile.k = tile.chunk = s->in.columns;
            tile.accumulate = !(is_first && i == 0);
            point_at_gradients(k, c, s, f, &tile);
            kernel(&tile);
        }
    }
}

/* Adds these blocks of the sum, at most blocks_at_once. */
static void add_blocks(const work *k, int64_t first, int64_t count, int is_first) {
    const fc_backprop_filter *call = k->call;
    const fc_input in = fc_filter_input(call);
    chunk c = {.count = count};
    for (int64_t b = 0; b < count; b++) {
        c.regions[b] = fc_pixel_block(call, first + b, k->group);
        c.pixels[b + 1] = c.pixels[b] + c.regions[b].rows * c.regions[b].columns;
    }
    const fc_region all = around(&c.regions[0], &c.regions[count - 1]);
    c.view = call->outer_products.x_in_place
                 ? fc_view_in_place(&in, k->group)
                 : fc_stage_region(&in, &all, call->outer_products.staging.row_bytes, k->staged);
    if (!k->unpacked) pack_gradients(k, c.regions, count);

    tiles t;
    for (int64_t tile = k->tiles.first; tile < k->tiles.end; tile += t.count) {
        t = tiles_at(call, tile, k->tiles.end);
        stretch stretches[BLOCKS];
        const void **next = k->indirection;
        int parts = 0;
        for (int64_t b = 0; b < count; b += stretches[parts++].blocks) {
            stretch *const s = &stretches[parts];
            *s = stretch_at(k, c.regions, count, b, t.term / call->sum.run_length);
            s->indirection = next;
            for (int64_t i = 0; i < t.count; i++)
                for (int64_t at = b; at < b + s->blocks; at++)
                    next = find_inputs(k, &c.regions[at], &c.view, &s->in, t.term + i * t.rows, t.rows, next);
        }
        add_tiles(k, &c, &t, stretches, parts, is_first);
    }
}

/* What a task works with; its number counts term tasks first, then channel tasks, slices and groups. */
static work work_of(const fc_backprop_filter *call, int64_t task, char *scratch, void *partial) {
    const fc_outer_products_split *s = &call->outer_products;
    const fc_arithmetic *gemm = fc_filter_arithmetic(call);
    const int64_t term_task = task % s->term_tasks, channel_task = task / s->term_tasks % s->channel_tasks;
    const int64_t slice = task / s->term_tasks / s->channel_tasks % call->pixels.slices;
    const int64_t panels = fc_ceil_div(group_width(call), gemm->nr);
    const int64_t end = fc_split_start(panels, s->channel_tasks, channel_task + 1) * gemm->nr;
    work k = {.call = call,
              .gemm = gemm,
              .group = task / s->term_tasks / s->channel_tasks / call->pixels.slices,
              .slice = slice,
              .channel = fc_split_start(panels, s->channel_tasks, channel_task) * gemm->nr,
              .tiles = {fc_split_start(s->tiles, s->term_tasks, term_task),
                        fc_split_start(s->tiles, s->term_tasks, term_task + 1)},
              .packed = scratch,
              .sums = fc_slice_sums(call, slice, partial)};
    k.channels = fc_min(end, group_width(call)) - k.channel;
    const int64_t end_read = k.channel + fc_ceil_div(k.channels, gemm->lanes) * gemm->lanes;
    k.unpacked = s->unpacked && k.group * group_width(call) + end_read <= call->problem.f;
    k.indirection = (const void **)(k.packed + s->packed_bytes);
    k.zeros = (char *)k.indirection + s->indirection_bytes;
    k.staged = k.zeros + s->zeros_bytes;
    return k;
}

static void compute(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    const work k = work_of(call, task, scratch, partial);
    const fc_range blocks = fc_blocks_of_slice(call, k.slice);
    memset(k.zeros, 0, (size_t)call->outer_products.zeros_bytes);
    for (int64_t b = blocks.first, count; b < blocks.end && !fc_team_stopped(); b += count) {
        count = next_blocks(call, b, blocks.end);
        add_blocks(&k, b, count, b == blocks.first);
    }
    fc_float_mode_leave(callers);
}

const fc_filter_method fc_outer_products_filter_method = {
    .name = "outer_products", .prepare = prepare, .task = compute};
