/* Forward convolution: an implicit matrix product of input windows and packed filters, one region a task. */
#include "blocks.h"
#include "depthwise.h"
#include "epilogue.h"
#include "float_mode.h"
#include "image_filter.h"
#include "pack.h"
#include "panels.h"
#include "split.h"
#include "tap_products.h"
#include "winograd.h"
#include <string.h>

enum {
    MOST_ROWS = 16, /* of any instruction set's tile */
    MOST_TILES = 8, /* that share a panel */
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

/* The first pixel of the region's next row. */
static position next_row(const fc_forward *call, const fc_region *region, position at) {
    const int last = at.oy + 1 == call->problem.oh;
    return (position){at.n + last, last ? 0 : at.oy + 1, region->column};
}

/* The next `count` pixels of the region, from `at` on, which moves past them. */
static void find_pixels(const fc_forward *call, const fc_region *region, const fc_view *view, position *at, int count,
                        pixels *found) {
    const fc_problem *p = &call->problem;
    const int folded = (int)call->sum.folded; /* a folded run holds its own padding at the sides */
    const int64_t reach_h = (p->kh - 1) * p->dilation_h, reach_w = (p->kw - 1) * p->dilation_w;
    const int64_t end = region->column + region->columns, column = view->column;
    position pixel = *at;
    found->count = count;
    found->inside = 1;
    for (int m = 0; m < count;) {
        const int stop = (int)fc_least(count, m + end - at->ox);
        const int64_t y = at->oy * p->stride_h - p->pad_top, x = at->ox * p->stride_w - p->pad_left;
        const int64_t last_x = x + (stop - m - 1) * p->stride_w + reach_w;
        uintptr_t base = view->origin + (uintptr_t)(at->n * view->image + at->oy * view->row + at->ox * column);
        found->inside &= (y >= 0) & (y + reach_h < p->h) & (folded | ((x >= 0) & (last_x < p->w)));
        at->ox += stop - m;
        for (; m < stop; m++, base += (uintptr_t)column) found->base[m] = base;
        if (at->ox == end) *at = next_row(call, region, *at);
    }
    for (int m = 0; m < count && !found->inside; m++) {
        found->y[m] = pixel.oy * p->stride_h - p->pad_top;
        found->x[m] = pixel.ox * p->stride_w - p->pad_left;
        if (++pixel.ox == end) pixel = next_row(call, region, pixel);
    }
}

/* Fills table[run][pixel] with the address of the block's terms; taps outside the image read zeros. */
static void fill_table(const fc_forward *call, const fc_view *view, const fc_block *b, const pixels *at,
                       const void *zeros, const void **table) {
    const fc_problem *p = &call->problem;
    const int count = at->count;
    const int64_t taps_w = call->sum.folded ? 1 : p->kw, size = fc_arithmetic_of(call)->size;
    int64_t i = b->first_run / taps_w, j = b->first_run % taps_w;
    for (int64_t r = 0; r < b->run_count; r++, table += count) {
        const uintptr_t offset = (uintptr_t)(i * view->tap_row + j * view->tap_column + b->first_term * size);
        for (int m = 0; m < count; m++) table[m] = (const void *)(at->base[m] + offset);
        for (int m = 0; m < count && !at->inside; m++) {
            const int64_t y = at->y[m] + i * p->dilation_h, x = at->x[m] + j * p->dilation_w;
            const int outside_w = !call->sum.folded && (x < 0 || x >= p->w);
            if (y < 0 || y >= p->h || outside_w) table[m] = zeros;
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
    int64_t width; /* of a panel of filters, in columns */
    int64_t tiles;
    const char *filters; /* the first term of the region's first filter */
    char *zeros, *packed, *sums;
    const void **table;
    int64_t sums_stride;
} work;

/* The filters of the blocks that follow, prefetched meanwhile: no hardware prefetcher sees their short, distant rows
 * coming, and reading them cold would take up to half as long as a 7 x 7 image's sums. Each tile asks for one line of
 * every row of a block, until all lines were asked for. */
typedef struct prefetch {
    fc_block block;
    int64_t line, row_lines, left; /* of a row: the next line, and how many; how many of all rows are left */
} prefetch;

static void aim(const work *k, prefetch *p, fc_tile *tile) {
    const fc_forward *call = k->call;
    const int64_t filter_row = call->w.depth * fc_dtype_size(call->x.dtype);
    tile->ahead = k->zeros;
    tile->ahead_step = 0;
    if (p->left == 0) return;
    tile->ahead = k->filters + fc_first_term(&call->sum, &p->block) * filter_row + p->line * LINE;
    tile->ahead_step = filter_row;
    p->left--;
    if (++p->line == p->row_lines) {
        p->line = 0;
        fc_next_block(&call->sum, &p->block);
    }
}

/* The panels that the tiles read. */
typedef struct panels {
    const char *first; /* of the block that begins with term first_term */
    int64_t first_term;
    int64_t padded;  /* columns, up to the next panel's width */
    int64_t skipped; /* columns before the region's */
} panels;

/* Packed are, for this region, some blocks; or, for many calls, all blocks for the whole group. */
static panels panels_of(const work *k, const fc_block *first) {
    const fc_forward *call = k->call;
    if (call->packed)
        return (panels){fc_packed_group(call, k->region.group), 0, fc_panels(call) * k->width, k->region.channel};
    const int64_t padded = fc_parts(k->region.channels, k->width) * k->width;
    return (panels){k->packed, fc_first_term(&call->sum, first), padded, 0};
}

static const char *panel(const work *k, const panels *all, const fc_block *b, int64_t column) {
    const int64_t terms = b->run_count * b->length, before = fc_first_term(&k->call->sum, b) - all->first_term;
    return all->first + (before * all->padded + terms * (all->skipped + column)) * k->gemm->size;
}

/* Panels that are packed for many calls may not have been read for long: while some tiles are multiplied with one,
 * tile `index` of them asks for its part of the next. */
static void aim_packed(const work *k, const char *next, int64_t index, fc_tile *tile) {
    const int64_t terms = tile->run_count * tile->run_length, asked = index * terms * LINE;
    const int wanted = next && asked < terms * k->width * k->gemm->size;
    tile->ahead = wanted ? next + asked : k->zeros;
    tile->ahead_step = wanted ? LINE : 0;
}

/* Adds these blocks of the sum, whose filters are packed, to every output of the region. */
static void add_blocks(const work *k, int64_t first, int64_t count) {
    const fc_forward *call = k->call;
    const fc_region *region = &k->region;
    const fc_gemm *gemm = k->gemm;
    const fc_sum *sum = &call->sum;
    const int64_t rows = region->rows * region->columns / k->tiles, longer = region->rows * region->columns % k->tiles;
    const int64_t row_lines = region->channels * fc_dtype_size(call->x.dtype) / LINE + 1;
    const int rows_alike = call->w.column == 1 && fc_evenly_spaced(call);
    const int64_t following = rows_alike ? fc_least(count, fc_block_count(sum) - first - count) : 0;
    const int last = first + count == fc_block_count(sum);
    const int64_t channel = region->group * (call->problem.f / call->problem.groups) + region->channel;
    const int64_t together = fc_least(MOST_TILES, FC_TOGETHER / gemm->rows);
    const fc_block first_block = fc_block_at(sum, first);
    const panels all = panels_of(k, &first_block);
    prefetch soon = {fc_block_at(sum, first + count), 0, row_lines, row_lines * following};
    position at = {region->image + region->row / call->problem.oh, region->row % call->problem.oh, region->column};
    fc_tile tile = {.step = 1, .sums_stride = k->sums_stride};
    char *sums = k->sums;

    for (int64_t t = 0; t < k->tiles;) {
        pixels found[MOST_TILES];
        const int64_t tiles = fc_least(together, k->tiles - t);
        int64_t pixels_done = 0;
        for (int64_t i = 0; i < tiles; pixels_done += found[i++].count, t++)
            find_pixels(call, region, &k->view, &at, (int)(rows + (t < longer)), &found[i]);
        const void **table = k->table; /* [block][tile][run][pixel] */
        fc_block b = first_block;
        for (int64_t i = 0; i < count; i++, fc_next_block(sum, &b))
            for (int64_t j = 0; j < tiles; table += b.run_count * found[j++].count)
                fill_table(call, &k->view, &b, &found[j], k->zeros, table);

        for (int64_t f = 0; f < region->channels; f += k->width) {
            tile.columns = (int)fc_least(k->width, region->channels - f);
            tile.runs = k->table;
            const int vectors = tile.columns > gemm->lanes ? 2 : 1, in_place = fc_unpacked(call, tile.columns);
            fc_gemm_fn *const *kernels = vectors == 2 ? gemm->tile2 : gemm->tile1;
            tile.filters_stride = in_place ? call->w.depth : vectors * gemm->lanes;
            b = first_block;
            for (int64_t i = 0; i < count; i++) {
                tile.run_count = b.run_count;
                tile.run_length = b.length;
                tile.accumulate = first + i > 0;
                tile.filters = in_place ? k->filters + (fc_first_term(sum, &b) * call->w.depth + f) * gemm->size
                                        : panel(k, &all, &b, f);
                tile.filters_jump = (in_place ? sum->run_length : b.length) * tile.filters_stride;
                tile.sums = sums + f * gemm->size;
                const char *next = NULL;
                fc_next_block(sum, &b);
                if (call->packed) {
                    const int more_blocks = i + 1 < count, more_panels = f + k->width < region->channels;
                    if (more_blocks || !more_panels)
                        next = last && !more_blocks ? NULL : panel(k, &all, &b, more_blocks ? f : 0);
                    else
                        next = panel(k, &all, &first_block, f + k->width);
                }
                for (int64_t j = 0; j < tiles; j++) {
                    if (call->packed)
                        aim_packed(k, next, j, &tile);
                    else
                        aim(k, &soon, &tile);
                    kernels[found[j].count - 1](&tile);
                    tile.runs += tile.run_count * found[j].count;
                    tile.sums = (char *)tile.sums + found[j].count * k->sums_stride * gemm->size;
                }
            }
            if (last) fc_finish(call, channel + f, sums + f * gemm->size, pixels_done, tile.columns, k->sums_stride);
        }
        sums += pixels_done * k->sums_stride * gemm->size;
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

/* The whole sum. Where all filters of these channels fit, they stay packed for this thread's next region of the same.
 */
static void sum_blocks(const work *k, fc_held *held) {
    const fc_forward *call = k->call;
    const int64_t blocks = fc_block_count(&call->sum), at_once = call->blocks_at_once;
    const int64_t channel = k->region.group * (call->problem.f / call->problem.groups) + k->region.channel;
    for (int64_t first = 0; first < blocks; first += at_once) {
        const int64_t count = fc_least(at_once, blocks - first);
        if (!call->packed && (blocks > at_once || held->call != call || held->index != channel))
            fc_pack_blocks(call, &k->region, k->filters, first, count, k->packed);
        add_blocks(k, first, count);
    }
    *held = (fc_held){blocks > at_once || call->packed ? NULL : call, channel};
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
    k.tiles = fc_parts(region->rows * region->columns, k.gemm->rows);
    k.filters = (const char *)call->w.data +
                (region->group * call->w.group + region->channel * call->w.column) * fc_dtype_size(call->x.dtype);
    k.zeros = (char *)scratch + FC_HEADER;
    k.table = (const void **)(k.zeros + fc_aligned(call->sum.chunk * size));
    k.packed = (char *)k.table + call->table_bytes;
    char *const strip = k.packed + call->packed_bytes;
    k.sums = strip + call->strip_bytes;
    k.sums_stride = region->channels;
    if (call->lanes == FC_PIXELS) return k; /* which stages no more than it needs */
    memset(k.zeros, 0, (size_t)(call->sum.chunk * size));
    k.view = call->direct ? fc_direct_view(call, region->group) : fc_stage_strip(call, region, strip);
    return k;
}

void fc_direct_sums(const fc_forward *call, const fc_region *region, void *scratch, void *sums) {
    fc_forward_begin(scratch);
    work k = begin(call, region, scratch);
    k.sums = sums;
    sum_blocks(&k, scratch);
}

void fc_forward_task(const fc_forward *call, int64_t task, void *scratch) {
    if (call->lanes == FC_DEPTHWISE) {
        fc_forward_begin(scratch); /* nothing is held any more */
        fc_depthwise_task(call, task, (char *)scratch + FC_HEADER);
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
            sum_blocks(&k, scratch);
        }
        if (!call->in_place) store_sums(&k);
    }
    fc_float_mode_leave(callers);
}
