/* Convolution as an implicit matrix product of input windows and packed filters, one region a task. */
#include "implicit_gemm.h"
#include "blocks.h"
#include "epilogue.h"
#include "float_mode.h"
#include "panels.h"
#include "regions.h"
#include "sizes.h"
#include <string.h>

enum {
    MOST_ROWS = 16, /* of any instruction set's tile */
    LINE = 64,      /* bytes of a cache line */

    PIXELS = 448,     /* pixels of a region: they make up for packing its filters, which takes as long as 2.5 pixels */
    PACKED = 1 << 17, /* bytes of filters packed at once: a quarter of a small second cache */
    FEWEST_COLUMNS = 64, /* channels whose filters are packed at once, at least: each range reads the pixels again */
    TOGETHER = 28,       /* pixels whose tiles share a panel, at least */
    MOST_TOGETHER = 224, /* and at most */
    WINDOWS = 14 << 10,  /* bytes of terms of the pixels in between: with the panel they stay in the first cache */
    SUMS = 1 << 19       /* bytes of sums in scratch, at most */
};

/* An output pixel. */
typedef struct position {
    int64_t n, oy, ox;
} position;

/* The output pixels of one tile: where their windows begin, in memory and, where they need it, in the image. */
typedef struct pixels {
    int count;
    int inside; /* every tap of every window lies inside the image */
    uintptr_t base[MOST_ROWS];
    int64_t y[MOST_ROWS], x[MOST_ROWS]; /* not set if inside */
} pixels;

/* The outputs whose windows lie inside the image: rows and columns from `first` on. */
typedef struct inner {
    int64_t first_row, rows, first_column, columns;
} inner;

/* How many outputs, from `first` on, have all their taps, which reach so far, inside an axis of `size`. */
static int64_t inner_count(int64_t first, int64_t stride, int64_t pad, int64_t reach, int64_t size) {
    const int64_t room = size - 1 - reach + pad - first * stride;
    return room < 0 ? 0 : room / stride + 1;
}

static inner inner_of(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    inner in = {.first_row = fc_parts(p->pad_top, p->stride_h), .columns = p->ow};
    in.rows = inner_count(in.first_row, p->stride_h, p->pad_top, (p->kh - 1) * p->dilation_h, p->h);
    if (call->sum.folded) return in; /* a folded run holds its own padding at the sides */
    in.first_column = fc_parts(p->pad_left, p->stride_w);
    in.columns = inner_count(in.first_column, p->stride_w, p->pad_left, (p->kw - 1) * p->dilation_w, p->w);
    return in;
}

static int within(int64_t at, int64_t count, int64_t first, int64_t all) {
    return at >= first && at + count <= first + all;
}

/* The first pixel of the region's next row. */
static position next_row(const fc_forward *call, const fc_region *region, position at) {
    const int last = at.oy + 1 == call->problem.oh;
    return (position){at.n + last, last ? 0 : at.oy + 1, region->column};
}

/* The next `count` pixels of the region, from `at` on, which moves past them. */
static void find_pixels(const fc_forward *call, const fc_region *region, const fc_view *view, const inner *in,
                        position *at, int count, pixels *found) {
    const fc_problem *p = &call->problem;
    const int64_t end = region->column + region->columns, column = view->column;
    position pixel = *at;
    found->count = count;
    found->inside = 1;
    for (int m = 0; m < count;) {
        const int stop = (int)fc_least(count, m + end - at->ox);
        uintptr_t base = view->origin + (uintptr_t)(at->n * view->image + at->oy * view->row + at->ox * column);
        found->inside &=
            within(at->oy, 1, in->first_row, in->rows) & within(at->ox, stop - m, in->first_column, in->columns);
        at->ox += stop - m;
        for (; m < stop; m++, base += (uintptr_t)column) found->base[m] = base;
        if (at->ox == end) *at = next_row(call, region, *at);
    }
    if (found->inside) return;
    for (int m = 0; m < count; m++) {
        found->y[m] = pixel.oy * p->stride_h - p->pad_top;
        found->x[m] = pixel.ox * p->stride_w - p->pad_left;
        if (++pixel.ox == end) pixel = next_row(call, region, pixel);
    }
}

/* Fills table[run][pixel] with the address of the range's terms; taps outside the image read zeros. */
static void fill_table(const fc_forward *call, const fc_view *view, const fc_block *b, const pixels *at,
                       const void *zeros, const void **table) {
    const fc_problem *p = &call->problem;
    const int count = at->count, folded = (int)call->sum.folded;
    const int64_t taps_w = folded ? 1 : p->kw, size = fc_arithmetic_of(call)->size;
    int64_t i = b->first_run ? b->first_run / taps_w : 0, j = b->first_run - i * taps_w;
    for (int64_t r = 0; r < b->run_count; r++, table += count) {
        const uintptr_t offset = (uintptr_t)(i * view->tap_row + j * view->tap_column + b->first_term * size);
        for (int m = 0; m < count; m++) table[m] = (const void *)(at->base[m] + offset);
        for (int m = 0; m < count && !at->inside; m++) { /* without branches, which would be mispredicted */
            const int64_t y = at->y[m] + i * p->dilation_h, x = at->x[m] + j * p->dilation_w;
            const int outside = (y < 0) | (y >= p->h) | ((!folded) & ((x < 0) | (x >= p->w)));
            table[m] = outside ? zeros : table[m];
        }
        if (++j == taps_w) j = 0, i++;
    }
}

/* What one task works with. */
typedef struct work {
    const fc_forward *call;
    const fc_gemm *gemm;
    fc_region region;
    fc_view view;
    int64_t width;       /* of a panel of filters, in columns */
    const char *filters; /* the first term of the region's first filter */
    char *zeros, *packed, *sums;
    const void **table;
    int64_t sums_stride;
} work;

/* The filters that are packed next, prefetched meanwhile: no hardware prefetcher sees their short, distant rows coming,
 * and reading them cold would take up to half as long as a 7 x 7 image's sums. Each tile asks for one line of every
 * row, until all lines were asked for. */
typedef struct prefetch {
    const char *first; /* of the first row; null: nothing */
    int64_t line, row_lines;
} prefetch;

static void aim(const work *k, prefetch *p, fc_tiles *tiles) {
    const fc_forward *call = k->call;
    tiles->ahead = p->first ? p->first + p->line * LINE : k->zeros;
    tiles->ahead_step = call->w.depth * fc_dtype_size(call->x.dtype);
    tiles->ahead_jump = LINE;
    tiles->ahead_tiles = p->first ? fc_least(tiles->count, p->row_lines - p->line) : 0;
    p->line += tiles->ahead_tiles;
}

/* Panels that are packed for many calls may not have been read for long: while the tiles of one are computed, they ask
 * for the next, if there is one. */
static void aim_packed(const work *k, const char *next, fc_tiles *tiles) {
    const int64_t terms = tiles->run_count * tiles->run_length, lines = terms * k->width * k->gemm->size / LINE;
    tiles->ahead = next ? next : k->zeros;
    tiles->ahead_step = LINE;
    tiles->ahead_jump = terms * LINE;
    tiles->ahead_tiles = next ? fc_least(tiles->count, fc_parts(lines, terms)) : 0;
}

/* The panel of the region's channels from `f` on, for a range of the sum. */
static const char *panel(const work *k, const fc_block *range, int64_t f) {
    const fc_forward *call = k->call;
    const int64_t size = k->gemm->size, first_term = fc_first_term(&call->sum, range);
    if (fc_unpacked(call, fc_least(k->width, k->region.channels - f)))
        return k->filters + (first_term * call->w.depth + f) * size;
    if (!call->packed) return k->packed + range->run_count * range->length * f * size;
    const int64_t column = k->region.channel + f, terms = call->sum.runs * call->sum.run_length;
    const int64_t left = call->problem.f / call->problem.groups - column;
    const int64_t width = left > k->gemm->lanes ? k->width : k->gemm->lanes;
    return fc_packed_group(call, k->region.group) + (terms * column + first_term * width) * size;
}

/* Adds a range of the sum, whose filters are packed, to every output of the region; `next` are those packed next. */
static void add_range(const work *k, const fc_block *range, prefetch next) {
    const fc_forward *call = k->call;
    const fc_region *region = &k->region;
    const fc_gemm *gemm = k->gemm;
    const fc_sum *sum = &call->sum;
    const int64_t tiles = fc_parts(region->rows * region->columns, gemm->rows);
    const int64_t rows = region->rows * region->columns / tiles, longer = region->rows * region->columns % tiles;
    const int last = fc_first_term(sum, range) + range->run_count * range->length == sum->runs * sum->run_length;
    const int64_t channel = region->group * (call->problem.f / call->problem.groups) + region->channel;
    const int64_t together = call->together / gemm->rows;
    position at = {region->image + region->row / call->problem.oh, region->row % call->problem.oh, region->column};
    fc_tiles t = {.runs = k->table,
                  .run_count = range->run_count,
                  .run_length = range->length,
                  .block_runs = sum->block_runs,
                  .chunk = sum->chunk,
                  .step = 1,
                  .sums_stride = k->sums_stride,
                  .accumulate = range->first_run > 0 || range->first_term > 0};
    const inner in = inner_of(call);
    char *sums = k->sums;

    for (int64_t tile = 0; tile < tiles; tile += t.count) {
        const int count = (int)(rows + (tile < longer)); /* pixels of each of these tiles */
        t.count = fc_least(together, (tile < longer ? longer : tiles) - tile);
        for (int64_t i = 0; i < t.count; i++) {
            pixels found;
            find_pixels(call, region, &k->view, &in, &at, count, &found);
            fill_table(call, &k->view, range, &found, k->zeros, k->table + i * range->run_count * count);
        }
        const int64_t done = t.count * count;
        for (int64_t f = 0; f < region->channels; f += k->width) {
            t.columns = (int)fc_least(k->width, region->channels - f);
            const int vectors = t.columns > gemm->lanes ? 2 : 1;
            t.filters = panel(k, range, f);
            t.filters_stride = fc_unpacked(call, t.columns) ? call->w.depth : vectors * gemm->lanes;
            t.sums = sums + f * gemm->size;
            if (call->packed)
                aim_packed(k, f + k->width < region->channels ? panel(k, range, f + k->width) : NULL, &t);
            else
                aim(k, &next, &t);
            (vectors == 2 ? gemm->tile2 : gemm->tile1)[count - 1](&t);
            if (last) fc_finish(call, channel + f, t.sums, done, t.columns, k->sums_stride);
        }
        sums += done * k->sums_stride * gemm->size;
    }
}

/* The filters of a region and a range, to be packed next, if they are read where the caller has them. */
static prefetch packed_next(const work *k, const fc_block *range) {
    const fc_forward *call = k->call;
    const int64_t size = fc_dtype_size(call->x.dtype);
    if (call->packed || call->w.column != 1 || !fc_evenly_spaced(call)) return (prefetch){0};
    return (prefetch){.first = k->filters + fc_first_term(&call->sum, range) * call->w.depth * size,
                      .row_lines = k->region.channels * size / LINE + 1};
}

/* The work on the region's channels from `f` on, a few at a time. */
static work part_of(const work *k, int64_t f) {
    work part = *k;
    part.region.channel += f;
    part.region.channels = fc_least(k->call->columns_at_once, k->region.channels - f);
    part.filters += f * k->call->w.column * fc_dtype_size(k->call->x.dtype);
    part.sums += f * k->gemm->size;
    return part;
}

/* The whole sum, range by range, for a few channels at a time. Where all filters of the region fit, they stay packed
 * for this thread's next region of the same channels. */
static void sum_ranges(const work *k, fc_held *held) {
    const fc_forward *call = k->call;
    const int64_t ranges = fc_block_count(&call->ranges), width = call->columns_at_once;
    const int64_t channel = k->region.group * (call->problem.f / call->problem.groups) + k->region.channel;
    const int keeps = !call->packed && ranges == 1 && width >= k->region.channels;
    for (int64_t f = 0; f < k->region.channels; f += width) {
        const work part = part_of(k, f);
        for (int64_t i = 0; i < ranges; i++) {
            const fc_block range = fc_block_at(&call->ranges, i), next = fc_block_at(&call->ranges, (i + 1) % ranges);
            prefetch soon = {0};
            if (i + 1 < ranges) {
                soon = packed_next(&part, &next);
            } else if (f + width < k->region.channels) {
                const work next_part = part_of(k, f + width);
                soon = packed_next(&next_part, &next);
            }
            if (!call->packed && !(keeps && held->call == call && held->index == channel))
                fc_pack_range(call, &part.region, part.filters, &range, part.packed);
            add_range(&part, &range, soon);
        }
    }
    *held = (fc_held){keeps ? call : NULL, channel};
}

/* A region's work, in scratch; its input is staged if need be. */
static work begin(const fc_forward *call, const fc_region *region, void *scratch) {
    const int64_t size = fc_arithmetic_of(call)->size;
    work k = {.call = call, .gemm = fc_arithmetic_of(call), .region = *region, .width = fc_panel_width(call)};
    k.filters = (const char *)call->w.data +
                (region->group * call->w.group + region->channel * call->w.column) * fc_dtype_size(call->x.dtype);
    k.zeros = (char *)scratch + FC_HEADER;
    k.table = (const void **)(k.zeros + fc_aligned(call->ranges.chunk * size));
    k.packed = (char *)k.table + call->table_bytes;
    char *const strip = k.packed + call->packed_bytes;
    k.sums = strip + call->strip_bytes;
    k.sums_stride = region->channels;
    memset(k.zeros, 0, (size_t)(call->ranges.chunk * size));
    k.view = call->direct ? fc_direct_view(call, region->group) : fc_stage_strip(call, region, strip);
    return k;
}

/* Whether sums can be built up in y, block by block. Not where another thread writes the same pixels' other channels:
 * the cache line that both share would travel between their cores at every block. */
static int in_place(const fc_forward *call) {
    const int shared = call->channel_tasks > 1 && fc_block_count(&call->sum) > 1;
    return !shared && !fc_is_half(call->y.dtype) && fc_is_dense(call);
}

static void measure(fc_forward *call, int64_t rows, int64_t columns, int64_t channels) {
    const fc_problem *p = &call->problem;
    const fc_sum *sum = &call->sum;
    const int64_t size = fc_arithmetic_of(call)->size, panel = fc_panel_width(call);
    const int64_t columns_padded = fc_parts(channels, panel) * panel;
    call->pixels = rows * columns;
    call->strip_row_bytes = call->strip_bytes = 0;
    if (!call->direct) fc_strip_size(call, rows, columns, &call->strip_row_bytes, &call->strip_bytes);
    const int64_t few = fc_least(columns_padded, FEWEST_COLUMNS > panel ? FEWEST_COLUMNS : panel);
    const int64_t blocks = PACKED / (fc_block_terms(sum) * few * size);
    call->ranges = fc_ranges(sum, blocks ? blocks : 1);
    const int64_t terms = fc_block_terms(&call->ranges), fit = PACKED / (terms * panel * size) * panel;
    call->columns_at_once = fc_least(columns_padded, fit > few ? fit : few);
    const int64_t windows = WINDOWS / (terms * size);
    call->together = windows < TOGETHER ? TOGETHER : fc_least(windows, MOST_TOGETHER);
    call->table_bytes = fc_aligned(call->together * call->ranges.block_runs * (int64_t)sizeof(void *));
    call->packed_bytes = fc_aligned(terms * call->columns_at_once * size);
    call->sums_bytes = call->in_place ? 0 : fc_aligned(call->pixels * fc_least(channels, p->f / p->groups) * size);
    call->scratch_bytes = FC_HEADER + fc_aligned(call->ranges.chunk * size) + call->table_bytes + call->packed_bytes +
                          call->strip_bytes + call->sums_bytes;
}

static void prepare(fc_forward *call, int threads) {
    const fc_region_rules rules = {.most_sums = SUMS, .in_place = in_place, .measure = measure};
    const fc_problem *p = &call->problem;
    call->pack_tasks = 0;
    call->direct = fc_windows_in_place(call) && !fc_is_aliased(call);
    call->images = call->direct ? 1 : p->n;
    call->panels = fc_panels(call);
    call->panel = fc_panel_width(call);
    const int64_t rows = fc_region_rows(call);
    call->column_tasks = fc_parts(p->ow, PIXELS);
    call->row_tasks = call->column_tasks > 1 ? rows : fc_parts(rows, PIXELS / p->ow);
    fc_cut_regions(call, &rules, threads);
}

void fc_direct_split(fc_forward *call, int64_t rows, int64_t columns) {
    call->method = &fc_implicit_gemm;
    call->packed = NULL;
    call->epilogue = (fc_epilogue){0};
    call->direct = fc_windows_in_place(call) && !fc_is_aliased(call);
    call->images = call->problem.n;
    call->in_place = 0;
    measure(call, rows, columns, fc_panel_width(call));
}

void fc_direct_sums(const fc_forward *call, const fc_region *region, void *scratch, void *sums) {
    fc_hold_nothing(scratch);
    work k = begin(call, region, scratch);
    k.sums = sums;
    sum_ranges(&k, scratch);
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_region region = fc_locate(call, task);
    work k = begin(call, &region, scratch);
    if (call->in_place) {
        k.sums = fc_region_in_place(call, &region);
        k.sums_stride = call->problem.f;
    }
    sum_ranges(&k, scratch);
    if (!call->in_place) fc_store_region(call, &region, k.sums, k.sums_stride);
    fc_float_mode_leave(callers);
}

const fc_method fc_implicit_gemm = {
    .name = "implicit_gemm",
    .holds = 1,
    .prepare = prepare,
    .task = compute,
    .packed_size = fc_bank_size,
    .pack_tasks = fc_bank_tasks,
    .pack = fc_pack_bank,
};
