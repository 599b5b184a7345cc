/* Forward convolution: an implicit matrix product of input windows and packed filters, one region a task. */
#include "blocks.h"
#include "depthwise.h"
#include "epilogue.h"
#include "float_mode.h"
#include "image_filter.h"
#include "narrow_groups.h"
#include "pack.h"
#include "panels.h"
#include "split.h"
#include "tap_products.h"
#include "winograd.h"
#include <string.h>

enum {
    MOST_ROWS = 16, /* of any instruction set's tile */
    LINE = 64,      /* bytes of a cache line */
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

/* Converts or transposes the finished sums into y. */
static void store_sums(const work *k) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_region *region = &k->region;
    const fc_tensor *y = &call->y;
    const int64_t channel = region->group * (p->f / p->groups) + region->channel;
    for (int64_t r = 0; r < region->rows; r++) {
        const int64_t row = region->image * p->oh + region->row + r;
        const int64_t at = row / p->oh * y->stride_n + row % p->oh * y->stride_h + region->column * y->stride_w;
        fc_store_pixels(call->kernels, y->dtype,
                        k->sums + r * region->columns * k->sums_stride * fc_arithmetic_of(call)->size, region->columns,
                        region->channels, (char *)y->data + (at + channel * y->stride_c) * fc_dtype_size(y->dtype),
                        y->stride_w, y->stride_c);
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

void fc_forward_begin(void *scratch) { *(fc_held *)scratch = (fc_held){0}; }

void fc_forward_task_of(const fc_forward *calls, int64_t task, void *scratch) {
    for (; task >= calls->tasks; calls++) task -= calls->tasks;
    fc_forward_task(calls, task, scratch);
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
    if (call->lanes == FC_PIXELS) return k; /* which stages no more than it needs */
    memset(k.zeros, 0, (size_t)(call->ranges.chunk * size));
    k.view = call->direct ? fc_direct_view(call, region->group) : fc_stage_strip(call, region, strip);
    return k;
}

void fc_direct_sums(const fc_forward *call, const fc_region *region, void *scratch, void *sums) {
    fc_forward_begin(scratch);
    work k = begin(call, region, scratch);
    k.sums = sums;
    sum_ranges(&k, scratch);
}

void fc_forward_task(const fc_forward *call, int64_t task, void *scratch) {
    if (call->lanes == FC_DEPTHWISE) {
        fc_forward_begin(scratch); /* nothing is held any more */
        fc_depthwise_task(call, task, (char *)scratch + FC_HEADER);
        return;
    }
    if (call->lanes == FC_GROUPS) {
        fc_forward_begin(scratch);
        fc_narrow_groups_task(call, task, scratch);
        return;
    }
    if (call->lanes == FC_WINOGRAD) {
        fc_winograd_task(call, task, scratch);
        return;
    }
    if (call->lanes != FC_CHANNELS) fc_forward_begin(scratch);
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->problem;
    const fc_region region = fc_locate(call, task);
    work k = begin(call, &region, scratch);
    if (call->in_place) {
        const int64_t first = (region.image * p->oh + region.row) * p->ow + region.column;
        const int64_t channel = region.group * (p->f / p->groups) + region.channel;
        k.sums = (char *)call->y.data + (first * p->f + channel) * k.gemm->size;
        k.sums_stride = p->f;
    }
    if (call->lanes == FC_PIXELS) {
        fc_image_filter(call, &k.region, k.packed + call->packed_bytes, k.packed, k.sums);
    } else {
        if (call->lanes == FC_TAPS) {
            fc_tap_products(call, &k.region, &k.view, k.table, k.packed, k.packed + fc_tap_filters_size(call), k.sums);
            fc_finish(call, 0, k.sums, k.region.rows * k.region.columns, p->f, p->f);
        } else {
            sum_ranges(&k, scratch);
        }
        if (!call->in_place) store_sums(&k);
    }
    fc_float_mode_leave(callers);
}
