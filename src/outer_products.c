/* The gradient of the filters: for every output pixel, the outer product of its input window and its gradient.
 *
 * The micro-kernel is the forward one. A tile's rows are terms of the filters (tap and input channel), its columns
 * output channels, and what it sums over are output pixels: a row's values lie one window apart in the input, in place
 * or staged, a column's one pixel apart in the output gradient, in place or packed. */
#include "outer_products.h"
#include "float_mode.h"
#include "pixel_blocks.h"
#include "sizes.h"
#include "team.h"
#include <string.h>

enum {
    PIXELS = 128,     /* whose output gradients are packed together: a panel of them stays in the first cache */
    BLOCKS = 16,      /* that hold them, at most */
    GROUP = 32,       /* tiles that run through them together: their inputs stay in the second cache */
    PANELS = 8,       /* of output channels, in a task */
    TASKS = 4,        /* a thread, for all to end together though one is interrupted */
    FEWEST_TILES = 4, /* in a task, to make up for packing */
    FAR = 128,        /* channels from which on pixels share few sets of the caches, and are staged, */
    WORTH = 24,       /* if each staged value is multiplied so often, */
    STAGED = 1 << 21, /* and takes no more bytes */
    UNPACKED = 16,    /* tiles, and fewer, do not make up for packing the output's gradient, */
    NEAR = 512        /* if its pixels are not farther apart */
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

/* What staging the inputs of all blocks that are added at once takes. */
static void size_strip(fc_backprop_filter *call) {
    const int64_t rows = call->pixels.rows, high = call->blocks_at_once / fc_column_blocks(call);
    const int64_t columns = fc_least(call->blocks_at_once, fc_column_blocks(call)) * call->pixels.columns;
    const fc_problem *p = &call->forward.problem;
    fc_strip_size(&call->forward, fc_least(high > 1 ? high * rows : rows, p->oh), fc_least(columns, p->ow),
                  &call->forward.strip_row_bytes, &call->forward.strip_bytes);
}

/* Whether inputs are read in place, or staged. */
static void choose_staging(fc_backprop_filter *call) {
    fc_forward *forward = &call->forward;
    const fc_problem *p = &forward->problem;
    const int64_t products = fc_terms(p) / call->term_tasks * group_width(call) / call->channel_tasks;
    const int far =
        (forward->x.stride_w >= FAR || forward->x.stride_w <= -FAR) && products >= WORTH * (p->c / p->groups);
    size_strip(call);
    forward->direct = fc_windows_in_place(forward) && (!far || forward->strip_bytes > STAGED);
    if (forward->direct) {
        forward->strip_row_bytes = forward->strip_bytes = 0;
    } else if (forward->strip_bytes > STAGED) {
        call->blocks_at_once = 1;
        size_strip(call);
    }
}

static void prepare(fc_backprop_filter *call, int threads) {
    fc_forward *forward = &call->forward;
    const fc_problem *p = &forward->problem;
    const fc_pixel_sum *pixels = &call->pixels;
    const fc_gemm *gemm = arithmetic(call);
    const int64_t size = gemm->size, panels = fc_parts(group_width(call), panel_width(call));

    forward->images = p->n;
    call->blocks = p->n * fc_row_blocks(call) * fc_column_blocks(call);
    const int64_t at_once = fc_least(PIXELS / (pixels->rows * pixels->columns), BLOCKS);
    call->blocks_at_once = fc_least(at_once < 1 ? 1 : at_once, call->blocks);
    call->tiles = fc_terms(p) / span(call) * tiles_of_span(call);

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
    choose_staging(call);
    const fc_tensor *y = &forward->y;
    const int in_a_row = pixels->rows == 1 && y->stride_h == p->ow * y->stride_w; /* from row to row, too */
    call->unpacked = y->stride_c == 1 && !fc_is_half(y->dtype) && y->stride_w <= NEAR && y->stride_w >= -NEAR &&
                     (fc_column_blocks(call) == 1 || in_a_row) && call->tiles / call->term_tasks <= UNPACKED;
    fc_split_slices(call);
    call->packed_bytes = fc_aligned(call->blocks_at_once * pixels->rows * pixels->columns *
                                    fc_parts(panels, call->channel_tasks) * panel_width(call) * size);
    call->table_bytes = fc_aligned(GROUP * call->blocks_at_once * pixels->rows * gemm->rows * (int64_t)sizeof(void *));
    call->zeros_bytes = forward->sum.folded ? forward->strip_row_bytes : 0;
    call->scratch_bytes = call->packed_bytes + call->table_bytes + call->zeros_bytes + forward->strip_bytes;
}

/* What one task works with: tiles first_tile to end_tile - 1, and `channels` channels from `channel` on. */
typedef struct work {
    const fc_backprop_filter *call;
    int64_t group, first_tile, end_tile, channel, channels;
    int unpacked; /* whole vectors of the output's gradient lie within a pixel, and are read there */
    char *packed, *zeros, *strip;
    const void **table;
    char *sums; /* of the task's slice: [term][f] */
} work;

/* The output gradients of these blocks, packed [panel][block][pixel][column]. */
static void pack_gradients(const work *k, const fc_region *regions, int64_t count) {
    const fc_backprop_filter *call = k->call;
    const fc_tensor *y = &call->forward.y;
    const int64_t width = panel_width(call), lanes = width / 2, size = arithmetic(call)->size;
    const int64_t channel = k->group * group_width(call) + k->channel;
    char *to = k->packed;
    for (int64_t f = 0; f < k->channels; f += width) {
        const int columns = (int)fc_least(width, k->channels - f);
        const int64_t row_width = columns > lanes ? width : lanes;
        for (const fc_region *region = regions; region < regions + count; region++)
            for (int64_t r = 0; r < region->rows; r++, to += region->columns * row_width * size) {
                const int64_t at = region->image * y->stride_n + (region->row + r) * y->stride_h +
                                   region->column * y->stride_w + (channel + f) * y->stride_c;
                fc_pack_panels(call->forward.kernels, y->dtype, (const char *)y->data + at * fc_dtype_size(y->dtype),
                               y->stride_w, y->stride_c, region->columns, columns, (int)row_width, to, 0);
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

/* Which pixels of a block a tap's tiles sum over. */
static inside pixels_inside(const work *k, const fc_region *region, int64_t tap) {
    const fc_problem *p = &k->call->forward.problem;
    inside in = {0, region->rows, 0, region->columns};
    if (k->call->forward.sum.folded) return in; /* the strip holds the padding at the sides; rows outside are zeros */
    const int64_t i = tap / p->kw, j = tap % p->kw;
    cut(region->row, region->rows, p->stride_h, i * p->dilation_h - p->pad_top, p->h, &in.row, &in.rows);
    cut(region->column, region->columns, p->stride_w, j * p->dilation_w - p->pad_left, p->w, &in.column, &in.columns);
    if (in.columns == 0) in.rows = 0;
    return in;
}

/* For each row of these pixels, the address of the first value of every term of a tile; returns the end. */
static const void **find_inputs(const work *k, const fc_region *region, const fc_view *view, const inside *in,
                                int64_t first_term, int rows, const void **table) {
    const fc_forward *forward = &k->call->forward;
    const fc_problem *p = &forward->problem;
    const int64_t length = forward->sum.run_length, size = arithmetic(k->call)->size;
    const uintptr_t corner = view->origin + (uintptr_t)(region->image * view->image + region->row * view->row +
                                                        region->column * view->column);
    if (forward->sum.folded) {
        for (int64_t r = 0; r < in->rows; r++)
            for (int m = 0; m < rows; m++) {
                const int64_t i = (first_term + m) / length, at = (first_term + m) % length;
                const int64_t y = (region->row + r) * p->stride_h - p->pad_top + i * p->dilation_h;
                const uintptr_t value = corner + (uintptr_t)(r * view->row + i * view->tap_row + at * size);
                *table++ = y >= 0 && y < p->h ? (const void *)value : k->zeros;
            }
        return table;
    }
    const int64_t tap = first_term / length, i = tap / p->kw, j = tap % p->kw;
    const uintptr_t first = corner + (uintptr_t)(in->row * view->row + in->column * view->column + i * view->tap_row +
                                                 j * view->tap_column + first_term % length * size);
    for (int64_t r = 0; r < in->rows; r++)
        for (int m = 0; m < rows; m++) *table++ = (const void *)(first + (uintptr_t)(r * view->row + m * size));
    return table;
}

/* How many of the next blocks are added at once: those of a row of blocks or, if that has fewer, of whole rows of an
 * image, which are staged together. */
static int64_t next_blocks(const fc_backprop_filter *call, int64_t first, int64_t end) {
    const int64_t columns = fc_column_blocks(call), rows = fc_row_blocks(call), most = call->blocks_at_once;
    const int64_t left_in_row = columns - first % columns, left_in_image = (rows - first / columns % rows) * columns;
    if (left_in_row < columns || most < 2 * columns || end - first < columns)
        return fc_least(most, fc_least(left_in_row, end - first));
    return fc_least(most, fc_least(left_in_image, end - first)) / columns * columns;
}

/* The rectangle from one block's first output to another's last. */
static fc_region around(const fc_region *first, const fc_region *last) {
    fc_region all = *first;
    all.rows = last->row + last->rows - first->row;
    all.columns = last->column + last->columns - first->column;
    return all;
}

/* Some blocks, packed one after the other, whose pixels a tap meets in the same way: one call sums them. */
typedef struct stretch {
    int64_t block, blocks;
    inside in;
    const void **table; /* [tile][row of pixels][term] */
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

/* The next of them from a tile on: of the tiles of a span, the first ones have a term more, if they differ. */
static tiles tiles_at(const fc_backprop_filter *call, int64_t tile, int64_t end) {
    const int64_t of_span = tiles_of_span(call), each = span(call) / of_span, longer = span(call) % of_span;
    const int64_t index = tile % of_span, first = tile - index;
    const int64_t last = first + (index < longer ? longer : of_span);
    const int64_t term = first / of_span * span(call) + index * each + fc_least(index, longer);
    return (tiles){
        .term = term, .count = fc_least(GROUP, fc_least(last, end) - tile), .rows = (int)(each + (index < longer))};
}

/* Blocks that are added at once. */
typedef struct chunk {
    int64_t count;
    fc_region regions[BLOCKS];
    int64_t pixels[BLOCKS + 1]; /* of the blocks before */
    fc_view view;               /* of their inputs */
} chunk;

/* Points at a stretch's output gradients from channel `f` of the task on: packed, or where they lie. */
static void aim(const work *k, const chunk *c, const stretch *s, int64_t f, fc_tiles *tile) {
    const fc_tensor *y = &k->call->forward.y;
    const fc_region *region = &c->regions[s->block];
    const int64_t size = arithmetic(k->call)->size, lanes = arithmetic(k->call)->lanes;
    if (k->unpacked) {
        const int64_t row = region->row + s->in.row, column = region->column + s->in.column;
        const int64_t channel = k->group * group_width(k->call) + k->channel + f;
        const int64_t at = region->image * y->stride_n + row * y->stride_h + column * y->stride_w + channel;
        const int64_t next = fc_column_blocks(k->call) > 1 ? region->columns * y->stride_w : y->stride_h;
        tile->filters = (const char *)y->data + at * size;
        tile->filters_stride = y->stride_w;
        tile->filters_skip = next - s->in.columns * y->stride_w;
    } else {
        const int64_t panel = c->pixels[c->count] * f, pixel = s->in.row * region->columns + s->in.column;
        tile->filters_stride = tile->columns > lanes ? 2 * lanes : lanes;
        tile->filters = k->packed + (panel + (c->pixels[s->block] + pixel) * tile->filters_stride) * size;
        tile->filters_skip = (region->columns - s->in.columns) * tile->filters_stride;
    }
}

/* Adds these tiles' sums over a chunk, which consists of these stretches. */
static void add_tiles(const work *k, const chunk *c, const tiles *t, const stretch *stretches, int parts,
                      int is_first) {
    const fc_backprop_filter *call = k->call;
    const fc_gemm *gemm = arithmetic(call);
    const int64_t f_all = call->forward.problem.f, width = panel_width(call);
    fc_tiles tile = {.count = t->count, .step = c->view.column / gemm->size, .sums_stride = f_all, .ahead = k->packed};
    for (int64_t f = 0; f < k->channels; f += width) {
        tile.columns = (int)fc_least(width, k->channels - f);
        tile.sums = k->sums + (t->term * f_all + k->group * group_width(call) + k->channel + f) * gemm->size;
        fc_gemm_fn *const kernel = (tile.columns > gemm->lanes ? gemm->tile2 : gemm->tile1)[t->rows - 1];
        for (int i = 0; i < parts; i++) {
            const stretch *s = &stretches[i];
            tile.runs = s->table;
            tile.block_runs = s->in.rows;
            tile.run_count = s->blocks * s->in.rows;
            tile.run_length = tile.chunk = s->in.columns;
            tile.accumulate = !(is_first && i == 0);
            aim(k, c, s, f, &tile);
            kernel(&tile);
        }
    }
}

/* Adds these blocks of the sum, at most blocks_at_once. */
static void add_blocks(const work *k, int64_t first, int64_t count, int is_first) {
    const fc_backprop_filter *call = k->call;
    const fc_forward *forward = &call->forward;
    chunk c = {.count = count};
    for (int64_t b = 0; b < count; b++) {
        c.regions[b] = fc_pixel_block(call, first + b, k->group);
        c.pixels[b + 1] = c.pixels[b] + c.regions[b].rows * c.regions[b].columns;
    }
    const fc_region all = around(&c.regions[0], &c.regions[count - 1]);
    c.view = forward->direct ? fc_direct_view(forward, k->group) : fc_stage_strip(forward, &all, k->strip);
    if (!k->unpacked) pack_gradients(k, c.regions, count);

    tiles t;
    for (int64_t tile = k->first_tile; tile < k->end_tile; tile += t.count) {
        t = tiles_at(call, tile, k->end_tile);
        stretch stretches[BLOCKS];
        const void **table = k->table;
        int parts = 0;
        for (int64_t b = 0; b < count; b += stretches[parts++].blocks) {
            stretch *const s = &stretches[parts];
            *s = stretch_at(k, c.regions, count, b, t.term / forward->sum.run_length);
            s->table = table;
            for (int64_t i = 0; i < t.count; i++)
                for (int64_t at = b; at < b + s->blocks; at++)
                    table = find_inputs(k, &c.regions[at], &c.view, &s->in, t.term + i * t.rows, t.rows, table);
        }
        add_tiles(k, &c, &t, stretches, parts, is_first);
    }
}

static void compute(const fc_backprop_filter *call, int64_t task, void *scratch, void *partial) {
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
    const int64_t lanes = arithmetic(call)->lanes, end_read = k.channel + fc_parts(k.channels, lanes) * lanes;
    k.unpacked = call->unpacked && k.group * group_width(call) + end_read <= p->f;
    k.packed = scratch;
    k.table = (const void **)(k.packed + call->packed_bytes);
    k.zeros = (char *)k.table + call->table_bytes;
    k.strip = k.zeros + call->zeros_bytes;
    k.sums = call->in_place ? call->w : (char *)partial + slice * fc_terms(p) * p->f * arithmetic(call)->size;
    memset(k.zeros, 0, (size_t)call->zeros_bytes);

    int64_t start, end;
    fc_blocks_of_slice(call, slice, &start, &end);
    for (int64_t b = start, count; b < end && !fc_team_stopped(); b += count) {
        count = next_blocks(call, b, end);
        add_blocks(&k, b, count, b == start);
    }
    fc_float_mode_leave(callers);
}

const fc_filter_method fc_outer_products = {.name = "outer_products", .prepare = prepare, .task = compute};
