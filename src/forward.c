/* Forward convolution: an implicit matrix product of input windows and packed filters, one region a task. */
#include "float_mode.h"
#include "depthwise.h"
#include "image_filter.h"
#include "pack.h"
#include "sizes.h"
#include "strip.h"
#include "tap_products.h"
#include <string.h>

enum {
    PIXELS = 448,       /* of a region: enough to make up for packing its filters, 2.5 pixels' worth of work */
    FEWEST_PIXELS = 56, /* of a region that is split further only to keep threads busy */
    TASKS = 4, /* a thread, for all to end together though one is interrupted; half, where each costs packing */

    PACKED = 1 << 18,       /* bytes of filters packed at once: half of a small second-level cache */
    MOST_PACKED = 1 << 21,  /* where one block takes more than PACKED; channels are split beyond */
    TAP_ROWS = 8,           /* rows a filter row, of a region whose lanes hold taps: it reads kh - 1 more */
    TAP_PRODUCTS = 1 << 15, /* most of its products of one row: 128 KB in float32 */
    STRIP = 1 << 20,        /* bytes of a staged strip, where more than one pixel has to fit */
    SUMS = 1 << 19,         /* bytes of sums in scratch */
    HEADER = 64,            /* bytes at the start of scratch: which filters it holds packed */

    MOST_ROWS = 16, /* of any instruction set's tile */
    TOGETHER = 28,  /* most pixels of the tiles that share a panel while it is in the first cache: 14 KB of windows */
    MOST_TILES = 8, /* that share one */
    VECTOR = 64,    /* bytes of the widest vector */
    LINE = 64,      /* bytes of a cache line */
    ALIASED = 2048, /* pixels this many bytes apart share two of the first cache's sets */
};

static int64_t share(int64_t total, int64_t parts, int64_t index) { return total * index / parts; }

static const fc_gemm *arithmetic(const fc_forward *call) { return fc_arithmetic(call->kernels, call->x.dtype); }
static int64_t panel_width(const fc_forward *call) { return 2 * arithmetic(call)->lanes; }
static int64_t panels(const fc_forward *call) {
    return call->lanes != FC_CHANNELS ? 1 : fc_parts(call->problem.f / call->problem.groups, panel_width(call));
}

/* Terms of the longest block, and the number of blocks. */
static int64_t block_terms(const fc_sum *sum) {
    return sum->block_runs > 1 ? sum->block_runs * sum->run_length : sum->chunk;
}
static int64_t block_count(const fc_sum *sum) {
    return fc_parts(sum->runs, sum->block_runs) * fc_parts(sum->run_length, sum->chunk);
}

/* Whether neighbouring pixels of x fall into the same sets of the first cache. */
static int aliased(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const int64_t step = p->stride_w * call->x.stride_w * fc_dtype_size(call->x.dtype);
    return p->c / p->groups > 1 && p->ow > 1 && step % ALIASED == 0;
}

/* Whether sums can be built up in y, block by block. Not where another thread writes the same pixels' other channels:
 * the cache line that both share would travel between their cores at every block. */
static int writable_in_place(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const int shared = call->channel_tasks > 1 && block_count(&call->sum) > 1;
    const fc_tensor *y = &call->y;
    const int dense = y->stride_w == p->f && (y->stride_h == p->ow * p->f || p->oh == 1) &&
                      (y->stride_n == p->oh * p->ow * p->f || p->n == 1) && (y->stride_c == 1 || p->f == 1);
    if (call->lanes == FC_PIXELS) return p->f == 1 && dense;
    if (call->lanes == FC_TAPS) return 0;
    return !shared && !fc_is_half(y->dtype) && dense;
}

static int64_t strip_rows(const fc_forward *call) { return call->images > 1 ? 1 : call->problem.n; }

/* Sizes of the largest region, and of the scratch it needs. */
static void measure(fc_forward *call) {
    const fc_problem *p = &call->problem;
    const fc_sum *sum = &call->sum;
    const int64_t size = arithmetic(call)->size;
    const int64_t rows = fc_parts(strip_rows(call) * p->oh, call->row_tasks);
    const int64_t columns = fc_parts(p->ow, call->column_tasks);
    const int64_t width =
        call->lanes != FC_CHANNELS ? p->f : fc_parts(panels(call), call->channel_tasks) * panel_width(call);
    const int64_t block = block_terms(sum) * width * size;
    call->pixels = rows * columns;
    call->in_place = writable_in_place(call);
    call->tasks = call->images * call->row_tasks * call->column_tasks * p->groups * call->channel_tasks;
    call->strip_row_bytes = call->strip_bytes = 0;
    if (!call->direct) fc_strip_size(call, rows, columns, &call->strip_row_bytes, &call->strip_bytes);
    if (call->lanes == FC_PIXELS) call->strip_bytes += 2 * VECTOR; /* a row's last vectors reach past its end */
    call->blocks_at_once = fc_least(block_count(sum), PACKED / block + (PACKED < block));
    call->table_bytes = fc_aligned(TOGETHER * sum->block_runs * call->blocks_at_once * (int64_t)sizeof(void *));
    call->packed_bytes =
        fc_aligned(call->lanes == FC_PIXELS ? p->f * p->kh * p->kw * size : call->blocks_at_once * block);
    if (call->lanes == FC_TAPS) call->packed_bytes = fc_tap_filters_size(call) + fc_tap_products_size(call, columns);
    call->sums_bytes = call->in_place ? 0 : fc_aligned(call->pixels * fc_least(width, p->f / p->groups) * size);
    call->scratch_bytes = HEADER + fc_aligned(sum->chunk * size) + call->table_bytes + call->packed_bytes +
                          call->strip_bytes + call->sums_bytes;
}

/* Halves the regions' rows or, where they are one row high, their columns; 0 if they are single pixels. */
static int split_pixels(fc_forward *call) {
    const int64_t rows = strip_rows(call) * call->problem.oh;
    if (call->row_tasks < rows)
        call->row_tasks = fc_least(2 * call->row_tasks, rows);
    else if (call->column_tasks < call->problem.ow)
        call->column_tasks = fc_least(2 * call->column_tasks, call->problem.ow);
    else
        return 0;
    measure(call);
    return 1;
}

void fc_forward_split(fc_forward *call, int threads) {
    const fc_problem *p = &call->problem;
    if (call->lanes == FC_DEPTHWISE) {
        fc_depthwise_split(call, threads);
        call->scratch_bytes += HEADER;
        return;
    }
    call->direct = fc_windows_in_place(call) && !aliased(call);
    call->images = call->direct && call->lanes != FC_TAPS ? 1 : p->n;

    const int64_t rows = strip_rows(call) * p->oh;
    call->column_tasks = fc_parts(p->ow, PIXELS);
    call->row_tasks = call->column_tasks > 1 ? rows : fc_parts(rows, PIXELS / p->ow);
    if (call->lanes == FC_TAPS) {
        call->column_tasks = fc_parts(p->ow, 1 + TAP_PRODUCTS / (p->kh * p->kw * p->f));
        call->row_tasks = fc_parts(rows, TAP_ROWS * p->kh);
    }
    call->channel_tasks = 1;
    measure(call);
    while (call->packed_bytes > MOST_PACKED && call->channel_tasks < panels(call)) {
        call->channel_tasks = fc_least(2 * call->channel_tasks, panels(call));
        measure(call);
    }
    const int64_t most_sums = call->lanes == FC_TAPS ? STRIP : SUMS;
    while ((call->strip_bytes > STRIP || call->sums_bytes > most_sums) && split_pixels(call)) continue;
    if (threads == 1) return;

    /* A panel costs its packing, 2.5 pixels' work, unless it is packed once for all regions; a tile its addresses and
     * its cold inputs, about a tenth of a panel's work. Halving whichever loses less, until there are enough tasks. */
    for (;;) {
        const int64_t width = fc_parts(panels(call), call->channel_tasks);
        const int packed_once = call->blocks_at_once == block_count(&call->sum);
        if (call->tasks >= (packed_once ? TASKS : TASKS / 2) * threads) break;
        const int wide = width > 1, tall = call->pixels >= 2 * FEWEST_PIXELS;
        if (wide && !(tall && (packed_once || call->pixels > 25 * width))) {
            call->channel_tasks = fc_least(2 * call->channel_tasks, panels(call));
            measure(call);
        } else if (!tall || !split_pixels(call)) {
            break;
        }
    }
    /* A last round that keeps only some of the threads busy is lost time. */
    for (int tries = 1; tries < threads && call->tasks % threads && call->row_tasks < rows; tries++) {
        call->row_tasks++;
        measure(call);
    }
}

static fc_region locate(const fc_forward *call, int64_t task) {
    const fc_problem *p = &call->problem;
    const int64_t channel_task = task % call->channel_tasks;
    task /= call->channel_tasks;
    const int64_t group = task % p->groups;
    task /= p->groups;
    const int64_t column_task = task % call->column_tasks;
    task /= call->column_tasks;
    const int64_t row_task = task % call->row_tasks, image = task / call->row_tasks;

    const int64_t rows = strip_rows(call) * p->oh, row = share(rows, call->row_tasks, row_task);
    const int64_t column = share(p->ow, call->column_tasks, column_task);
    const int64_t width = call->lanes == FC_CHANNELS ? panel_width(call) : p->f / p->groups;
    const int64_t channel = share(panels(call), call->channel_tasks, channel_task) * width;
    const int64_t end = share(panels(call), call->channel_tasks, channel_task + 1) * width;
    return (fc_region){.image = image,
                       .row = row,
                       .rows = share(rows, call->row_tasks, row_task + 1) - row,
                       .column = column,
                       .columns = share(p->ow, call->column_tasks, column_task + 1) - column,
                       .group = group,
                       .channel = channel,
                       .channels = fc_least(end, p->f / p->groups) - channel};
}

/* One block of the sum: `run_count` runs from `first_run` on, of each of them `length` terms from `first_term` on. */
typedef struct block {
    int64_t first_run, run_count, first_term, length;
} block;

static block block_at(const fc_sum *sum, int64_t index) {
    const int64_t pieces = fc_parts(sum->run_length, sum->chunk);
    const int64_t run = index / pieces * sum->block_runs, term = index % pieces * sum->chunk;
    return (block){run, fc_least(sum->block_runs, sum->runs - run), term, fc_least(sum->chunk, sum->run_length - term)};
}

static void next_block(const fc_sum *sum, block *b) {
    b->first_term += sum->chunk;
    if (b->first_term >= sum->run_length) {
        b->first_term = 0;
        b->first_run += sum->block_runs;
        b->run_count = fc_least(sum->block_runs, sum->runs - b->first_run);
    }
    b->length = fc_least(sum->chunk, sum->run_length - b->first_term);
}

/* An output pixel. */
typedef struct position {
    int64_t n, oy, ox;
} position;

static int64_t first_term(const fc_sum *sum, const block *b) { return b->first_run * sum->run_length + b->first_term; }

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
static void fill_table(const fc_forward *call, const fc_view *view, const block *b, const pixels *at, const void *zeros,
                       const void **table) {
    const fc_problem *p = &call->problem;
    const int count = at->count;
    const int64_t taps_w = call->sum.folded ? 1 : p->kw, size = arithmetic(call)->size;
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

/* Whether all terms of a filter lie at one distance. */
static int evenly_spaced(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    const int64_t tap = p->c / p->groups * w->depth;
    return (w->w == tap || p->kw == 1) && (w->h == p->kw * tap || p->kh == 1);
}

/* Whether tiles read a panel of this many columns where the caller has it. The same for all regions of a call, though
 * one may have a tile less than another: a thread keeps what it packed from region to region. */
static int unpacked(const fc_forward *call, int64_t columns) {
    const fc_gemm *gemm = arithmetic(call);
    return fc_parts(call->pixels, gemm->rows) <= gemm->unpacked_tiles && columns % gemm->lanes == 0 &&
           !fc_is_half(call->x.dtype) && call->w.column == 1 && evenly_spaced(call);
}

/* Packs `count` terms of one panel, from `term` on. */
static void pack_terms(const work *k, int64_t term, int64_t count, int64_t column, int columns, int width, char *to) {
    const fc_forward *call = k->call;
    const fc_filters *w = &call->w;
    const int64_t depth = call->problem.c / call->problem.groups, size = fc_dtype_size(call->x.dtype);
    const int64_t row_size = width * k->gemm->size;
    for (int64_t done; count > 0; term += done, count -= done, to += done * row_size) {
        const int64_t tap = term / depth, channel = term % depth, kw = call->problem.kw;
        const int64_t at = tap / kw * w->h + tap % kw * w->w + channel * w->depth + column * w->column;
        done = evenly_spaced(call) ? count : fc_least(depth - channel, count);
        fc_pack_panel(call->kernels, call->x.dtype, k->filters + at * size, w->depth, w->column, done, columns, width,
                      to);
    }
}

/* The filters of blocks first to first + count - 1, packed [block][panel][term][column]. */
static void pack_blocks(const work *k, int64_t first, int64_t count) {
    const fc_forward *call = k->call;
    const fc_gemm *gemm = k->gemm;
    block b = block_at(&call->sum, first);
    char *to = k->packed;
    for (int64_t i = 0; i < count; i++, next_block(&call->sum, &b)) {
        const int64_t terms = b.run_count * b.length;
        for (int64_t f = 0; f < k->region.channels; f += k->width, to += terms * k->width * gemm->size) {
            const int columns = (int)fc_least(k->width, k->region.channels - f);
            const int width = columns > gemm->lanes ? 2 * gemm->lanes : gemm->lanes;
            if (!unpacked(call, columns)) pack_terms(k, first_term(&call->sum, &b), terms, f, columns, width, to);
        }
    }
}

/* The filters of the blocks that follow, prefetched meanwhile: no hardware prefetcher sees their short, distant rows
 * coming, and reading them cold would take up to half as long as a 7 x 7 image's sums. Each tile asks for one line of
 * every row of a block, until all lines were asked for. */
typedef struct prefetch {
    block block;
    int64_t line, row_lines, left; /* of a row: the next line, and how many; how many of all rows are left */
} prefetch;

static void aim(const work *k, prefetch *p, fc_tile *tile) {
    const fc_forward *call = k->call;
    const int64_t filter_row = call->w.depth * fc_dtype_size(call->x.dtype);
    tile->ahead = k->zeros;
    tile->ahead_step = 0;
    if (p->left == 0) return;
    tile->ahead = k->filters + first_term(&call->sum, &p->block) * filter_row + p->line * LINE;
    tile->ahead_step = filter_row;
    p->left--;
    if (++p->line == p->row_lines) {
        p->line = 0;
        next_block(&call->sum, &p->block);
    }
}

/* Adds these blocks of the sum, whose filters are packed, to every output of the region. */
static void add_blocks(const work *k, int64_t first, int64_t count) {
    const fc_forward *call = k->call;
    const fc_region *region = &k->region;
    const fc_gemm *gemm = k->gemm;
    const fc_sum *sum = &call->sum;
    const int64_t rows = region->rows * region->columns / k->tiles, longer = region->rows * region->columns % k->tiles;
    const int64_t padded = fc_parts(region->channels, k->width) * k->width;
    const int64_t row_lines = region->channels * fc_dtype_size(call->x.dtype) / LINE + 1;
    const int rows_alike = call->w.column == 1 && evenly_spaced(call);
    const int64_t following = rows_alike ? fc_least(count, block_count(sum) - first - count) : 0;
    const int64_t together = fc_least(MOST_TILES, TOGETHER / gemm->rows);
    const block first_block = block_at(sum, first);
    prefetch soon = {block_at(sum, first + count), 0, row_lines, row_lines * following};
    position at = {region->image + region->row / call->problem.oh, region->row % call->problem.oh, region->column};
    fc_tile tile = {.step = 1, .sums_stride = k->sums_stride};
    char *sums = k->sums;

    for (int64_t t = 0; t < k->tiles;) {
        pixels found[MOST_TILES];
        const int64_t tiles = fc_least(together, k->tiles - t);
        for (int64_t i = 0; i < tiles; i++, t++)
            find_pixels(call, region, &k->view, &at, (int)(rows + (t < longer)), &found[i]);
        const void **table = k->table; /* [block][tile][run][pixel] */
        block b = first_block;
        for (int64_t i = 0; i < count; i++, next_block(sum, &b))
            for (int64_t j = 0; j < tiles; table += b.run_count * found[j++].count)
                fill_table(call, &k->view, &b, &found[j], k->zeros, table);

        for (int64_t f = 0; f < region->channels; f += k->width) {
            tile.columns = (int)fc_least(k->width, region->channels - f);
            tile.runs = k->table;
            const int vectors = tile.columns > gemm->lanes ? 2 : 1, in_place = unpacked(call, tile.columns);
            fc_gemm_fn *const *kernels = vectors == 2 ? gemm->tile2 : gemm->tile1;
            const char *packed = k->packed;
            tile.filters_stride = in_place ? call->w.depth : vectors * gemm->lanes;
            b = first_block;
            for (int64_t i = 0; i < count; i++, next_block(sum, &b)) {
                const int64_t terms = b.run_count * b.length;
                tile.run_count = b.run_count;
                tile.run_length = b.length;
                tile.accumulate = first + i > 0;
                tile.filters = in_place ? k->filters + (first_term(sum, &b) * call->w.depth + f) * gemm->size
                                        : packed + terms * f * gemm->size;
                tile.filters_jump = (in_place ? sum->run_length : b.length) * tile.filters_stride;
                packed += terms * padded * gemm->size;
                tile.sums = sums + f * gemm->size;
                for (int64_t j = 0; j < tiles; j++) {
                    aim(k, &soon, &tile);
                    kernels[found[j].count - 1](&tile);
                    tile.runs += b.run_count * found[j].count;
                    tile.sums = (char *)tile.sums + found[j].count * k->sums_stride * gemm->size;
                }
            }
        }
        for (int64_t j = 0; j < tiles; j++) sums += found[j].count * k->sums_stride * gemm->size;
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
                        k->sums + r * region->columns * k->sums_stride * arithmetic(call)->size, region->columns,
                        region->channels, (char *)y->data + (at + channel * y->stride_c) * fc_dtype_size(y->dtype),
                        y->stride_w, y->stride_c);
    }
}

/* Which filters a thread's scratch holds packed: those of these channels of this call, if any. */
typedef struct packed_filters {
    const fc_forward *call;
    int64_t channel;
} packed_filters;

/* The whole sum. Where all filters of these channels fit, they stay packed for this thread's next region of the same.
 */
static void sum_blocks(const work *k, packed_filters *held) {
    const fc_forward *call = k->call;
    const int64_t blocks = block_count(&call->sum), at_once = call->blocks_at_once;
    const int64_t channel = k->region.group * (call->problem.f / call->problem.groups) + k->region.channel;
    for (int64_t first = 0; first < blocks; first += at_once) {
        const int64_t count = fc_least(at_once, blocks - first);
        if (blocks > at_once || held->call != call || held->channel != channel) pack_blocks(k, first, count);
        add_blocks(k, first, count);
    }
    *held = (packed_filters){blocks > at_once ? NULL : call, channel};
}

void fc_forward_begin(void *scratch) { *(packed_filters *)scratch = (packed_filters){0}; }

void fc_forward_task_of(const fc_forward *calls, int64_t task, void *scratch) {
    for (; task >= calls->tasks; calls++) task -= calls->tasks;
    fc_forward_task(calls, task, scratch);
}

void fc_forward_task(const fc_forward *call, int64_t task, void *scratch) {
    if (call->lanes == FC_DEPTHWISE) {
        fc_depthwise_task(call, task, (char *)scratch + HEADER);
        return;
    }
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_problem *p = &call->problem;
    const int64_t size = arithmetic(call)->size;
    work k = {.call = call, .gemm = arithmetic(call), .region = locate(call, task), .width = panel_width(call)};
    k.tiles = fc_parts(k.region.rows * k.region.columns, arithmetic(call)->rows);
    const int64_t channel = k.region.group * (p->f / p->groups) + k.region.channel;
    k.filters = (const char *)call->w.data +
                (k.region.group * call->w.group + k.region.channel * call->w.column) * fc_dtype_size(call->x.dtype);
    k.zeros = (char *)scratch + HEADER;
    k.table = (const void **)(k.zeros + fc_aligned(call->sum.chunk * size));
    k.packed = (char *)k.table + call->table_bytes;
    char *const strip = k.packed + call->packed_bytes;
    k.sums = strip + call->strip_bytes;
    k.sums_stride = k.region.channels;
    if (call->in_place) {
        const int64_t first = (k.region.image * p->oh + k.region.row) * p->ow + k.region.column;
        k.sums = (char *)call->y.data + (first * p->f + channel) * size;
        k.sums_stride = p->f;
    }
    memset(k.zeros, 0, (size_t)(call->sum.chunk * size));
    k.view = call->direct ? fc_direct_view(call, k.region.group) : fc_stage_strip(call, &k.region, strip);

    if (call->lanes == FC_PIXELS) {
        fc_image_filter(call, &k.region, &k.view, k.table, k.packed, k.sums);
    } else {
        if (call->lanes == FC_TAPS)
            fc_tap_products(call, &k.region, &k.view, k.table, k.packed, k.packed + fc_tap_filters_size(call), k.sums);
        else
            sum_blocks(&k, scratch);
        if (!call->in_place) store_sums(&k);
    }
    fc_float_mode_leave(callers);
}
