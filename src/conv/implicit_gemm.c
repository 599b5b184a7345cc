/* Convolution as an implicit matrix product of input windows and packed filters, one region a task. */
#include "conv/implicit_gemm.h"
#include "base/blocks.h"
#include "base/float_mode.h"
#include "conv/epilogue.h"
#include "conv/regions.h"
#include "layout/filter_panels.h"
#include "layout/indirection.h"
#include <string.h>

/* What one task works with. */
typedef struct work {
    const fc_forward *call;
    const fc_implicit_gemm_split *split;
    const fc_arithmetic *gemm;
    const void *bank; /* filters that were packed before, or null */
    int sums_only;    /* 1: nothing but the sums is wanted */
    fc_region region;
    fc_view view;
    const char *filters; /* where the region's first filter begins */
    char *zeros, *packed, *sums;
    const void **indirection;
    int64_t sums_stride;
} work;

/* The filters that are packed next, prefetched meanwhile. No hardware prefetcher sees their short, distant rows coming,
 * and reading them cold would take up to half as long as a 7 x 7 image's sums. Each tile asks for one line of every
 * row, until all lines were asked for. */
typedef struct next_filters {
    const char *first; /* of the first row; null: there are none */
    int64_t line, row_lines;
} next_filters;

static void prefetch_filters(const work *k, next_filters *next, fc_tiles *tiles) {
    tiles->prefetch = next->first ? next->first + next->line * FC_LINE_BYTES : k->zeros;
    tiles->prefetch_step = k->call->w.depth * fc_dtype_size(k->call->x.dtype);
    tiles->prefetch_jump = FC_LINE_BYTES;
    tiles->prefetch_tiles = next->first ? fc_min(tiles->count, next->row_lines - next->line) : 0;
    next->line += tiles->prefetch_tiles;
}

/* Panels that were packed for many calls may not have been read for long: while the tiles of one are computed, they ask
 * for the next, if there is one. */
static void prefetch_panel(const work *k, const char *next, fc_tiles *tiles) {
    const int64_t terms = tiles->batch_size * tiles->k, lines = terms * k->gemm->nr * k->gemm->size / FC_LINE_BYTES;
    tiles->prefetch = next ? next : k->zeros;
    tiles->prefetch_step = FC_LINE_BYTES;
    tiles->prefetch_jump = terms * FC_LINE_BYTES;
    tiles->prefetch_tiles = next ? fc_min(tiles->count, fc_ceil_div(lines, terms)) : 0;
}

static int64_t group_width(const fc_forward *call) { return fc_group_outputs(&call->problem); }

static int reads_unpacked(const work *k, int64_t columns) {
    return k->split->unpacked && !k->bank && columns % k->gemm->lanes == 0;
}

/* The panel of the region's channels from `f` on, for a range of the sum. */
static const char *panel(const work *k, const fc_block *range, int64_t f) {
    const fc_forward *call = k->call;
    const fc_arithmetic *gemm = k->gemm;
    const int64_t first_term = fc_first_term(&call->sum, range);
    if (reads_unpacked(k, fc_min(gemm->nr, k->region.channels - f)))
        return k->filters + (first_term * call->w.depth + f) * gemm->size;
    if (!k->bank) return k->packed + range->run_count * range->length * f * gemm->size;
    const int64_t column = k->region.channel + f, terms = call->sum.runs * call->sum.run_length;
    const int64_t width = fc_vector_columns(gemm, group_width(call) - column);
    return fc_packed_group(call, k->bank, k->region.group) + (terms * column + first_term * width) * gemm->size;
}

/* Computes some tiles, which have their addresses in the indirection buffer, with every panel of the region. */
static void multiply(const work *k, const fc_block *range, int rows, fc_tiles *t, next_filters *next) {
    const fc_arithmetic *gemm = k->gemm;
    char *const sums = t->sums;
    for (int64_t f = 0; f < k->region.channels; f += gemm->nr) {
        t->columns = (int)fc_min(gemm->nr, k->region.channels - f);
        t->filters = panel(k, range, f);
        t->filters_stride = reads_unpacked(k, t->columns) ? k->call->w.depth : fc_vector_columns(gemm, t->columns);
        t->sums = sums + f * gemm->size;
        if (k->bank)
            prefetch_panel(k, f + gemm->nr < k->region.channels ? panel(k, range, f + gemm->nr) : NULL, t);
        else
            prefetch_filters(k, next, t);
        fc_tiles_of(gemm, t->columns)[rows - 1](t);
    }
    t->sums = sums;
}

/* Adds a range of the sum, whose filters are packed, to every output of the region, MC pixels at a time; `next` are the
 * filters that are packed next. */
static void add_range(const work *k, const fc_block *range, next_filters next) {
    const fc_forward *call = k->call;
    const fc_region *region = &k->region;
    const fc_sum *sum = &call->sum;
    const int64_t pixels = region->rows * region->columns, tiles = fc_ceil_div(pixels, k->gemm->mr);
    const int64_t rows = pixels / tiles, longer = pixels % tiles; /* so many tiles have a pixel more */
    const int64_t end = fc_first_term(sum, range) + range->run_count * range->length;
    const int is_last = end == sum->runs * sum->run_length;
    const int64_t channel = region->group * group_width(call) + region->channel, together = k->split->mc / k->gemm->mr;
    const fc_input in = fc_input_of(call);
    const fc_indirection find = fc_indirection_of(&in, region, &k->view, k->zeros);
    fc_position at = {region->image + region->row / call->problem.oh, region->row % call->problem.oh, region->column};
    fc_tiles t = {.batch = k->indirection,
                  .batch_size = range->run_count,
                  .k = range->length,
                  .block_runs = sum->block_runs,
                  .chunk = sum->chunk,
                  .step = 1,
                  .sums = k->sums,
                  .sums_stride = k->sums_stride,
                  .accumulate = range->first_run > 0 || range->first_term > 0};

    for (int64_t tile = 0; tile < tiles; tile += t.count) {
        const int count = (int)(rows + (tile < longer)); /* pixels of each of these tiles */
        t.count = fc_min(together, (tile < longer ? longer : tiles) - tile);
        for (int64_t i = 0; i < t.count; i++) {
            fc_pixels found;
            fc_find_pixels(&find, &at, count, &found);
            fc_fill_indirection(&find, range, &found, k->indirection + i * range->run_count * count);
        }
        multiply(k, range, count, &t, &next);
        if (is_last && !k->sums_only)
            fc_apply_epilogue(call, channel, t.sums, t.count * count, region->channels, k->sums_stride);
        t.sums = (char *)t.sums + t.count * count * k->sums_stride * k->gemm->size;
    }
}

/* The filters of a region and a range, to be packed next, if they are read where the caller has them. */
static next_filters packed_next(const work *k, const fc_block *range) {
    const fc_forward *call = k->call;
    const int64_t size = fc_dtype_size(call->x.dtype);
    if (k->bank || call->w.column != 1 || !fc_evenly_spaced(call)) return (next_filters){0};
    return (next_filters){.first = k->filters + fc_first_term(&call->sum, range) * call->w.depth * size,
                          .row_lines = k->region.channels * size / FC_LINE_BYTES + 1};
}

/* The work on NC of the region's channels, from `f` on. */
static work part_of(const work *k, int64_t f) {
    work part = *k;
    part.region.channel += f;
    part.region.channels = fc_min(k->split->nc, k->region.channels - f);
    part.filters += f * k->call->w.column * fc_dtype_size(k->call->x.dtype);
    part.sums += f * k->gemm->size;
    return part;
}

/* The whole sum, NC channels and KC terms at a time. Where all filters of the region fit, they stay packed for this
 * thread's next region of the same channels. */
static void sum_ranges(const work *k, fc_held *held) {
    const fc_forward *call = k->call;
    const fc_sum *kc = &k->split->kc;
    const int64_t ranges = fc_block_count(kc), nc = k->split->nc;
    const int64_t channel = k->region.group * group_width(call) + k->region.channel;
    const int keeps = !k->bank && ranges == 1 && nc >= k->region.channels;
    for (int64_t f = 0; f < k->region.channels; f += nc) {
        const work part = part_of(k, f);
        for (int64_t i = 0; i < ranges; i++) {
            const fc_block range = fc_block_at(kc, i), after = fc_block_at(kc, (i + 1) % ranges);
            next_filters next = {0};
            if (i + 1 < ranges) {
                next = packed_next(&part, &after);
            } else if (f + nc < k->region.channels) {
                const work next_part = part_of(k, f + nc);
                next = packed_next(&next_part, &after);
            }
            if (!k->bank && !(keeps && held->call == call && held->index == channel))
                fc_pack_range(call, k->split->unpacked, &part.region, part.filters, &range, part.packed);
            add_range(&part, &range, next);
        }
    }
    *held = (fc_held){keeps ? call : NULL, channel};
}

/* A region's work, in scratch; its input is staged if need be. */
static work begin(const fc_forward *call, const fc_implicit_gemm_split *split, const fc_region *region, void *scratch) {
    const fc_input in = fc_input_of(call);
    work k = {.call = call,
              .split = split,
              .gemm = fc_call_arithmetic(call),
              .region = *region,
              .sums_stride = region->channels};
    k.filters = (const char *)call->w.data +
                (region->group * call->w.group + region->channel * call->w.column) * fc_dtype_size(call->x.dtype);
    k.zeros = (char *)scratch + FC_HEADER;
    k.indirection = (const void **)(k.zeros + split->zeros_bytes);
    k.packed = (char *)k.indirection + split->indirection_bytes;
    char *const staged = k.packed + split->packed_bytes;
    k.sums = staged + split->regions.staging.bytes;
    memset(k.zeros, 0, (size_t)split->zeros_bytes);
    k.view = split->x_in_place ? fc_view_in_place(&in, region->group)
                               : fc_stage_region(&in, region, split->regions.staging.row_bytes, staged);
    return k;
}

/* Whether sums can be built up in y, block by block. Not where another thread writes the same pixels' other channels:
 * the cache line that both share would travel between their cores at every block. */
static int in_place(const fc_forward *call) {
    const int shared = call->implicit_gemm.regions.channel_tasks > 1 && fc_block_count(&call->sum) > 1;
    return !shared && !fc_is_converted(call->y.dtype) && fc_is_dense(call);
}

/* Sets the sizes of a split for regions of at most so many pixels and channels; returns the bytes of scratch. */
static int64_t measure_split(const fc_forward *call, fc_implicit_gemm_split *s, int64_t rows, int64_t columns,
                             int64_t channels) {
    const fc_tuning *tuning = &call->kernels->tuning;
    const fc_sum *sum = &call->sum;
    const fc_input in = fc_input_of(call);
    const int64_t size = fc_call_arithmetic(call)->size, nr = fc_panel_width(call);
    const int64_t padded = fc_ceil_div(channels, nr) * nr, least_nc = fc_min(padded, fc_max(tuning->gemm_least_nc, nr));
    fc_regions *const r = &s->regions;
    r->pixels = rows * columns;
    r->staging = s->x_in_place ? (fc_staging){0} : fc_staging_of(&in, rows, columns);
    const int64_t blocks = tuning->gemm_filter_bytes / (fc_block_terms(sum) * least_nc * size);
    s->kc = fc_coarser_blocks(sum, fc_max(blocks, 1));
    const int64_t terms = fc_block_terms(&s->kc), fit = tuning->gemm_filter_bytes / (terms * nr * size) * nr;
    s->nc = fc_min(padded, fc_max(fit, least_nc));
    const int64_t windows = tuning->gemm_window_bytes / (terms * size);
    s->mc = windows < tuning->gemm_least_mc ? tuning->gemm_least_mc : fc_min(windows, tuning->gemm_most_mc);
    s->unpacked = fc_reads_unpacked(call, r->pixels);
    s->zeros_bytes = fc_round_up(s->kc.chunk * size);
    s->indirection_bytes = fc_round_up(s->mc * s->kc.block_runs * (int64_t)sizeof(void *));
    s->packed_bytes = fc_round_up(terms * s->nc * size);
    r->sums_bytes = r->in_place ? 0 : fc_round_up(r->pixels * fc_min(channels, group_width(call)) * size);
    return FC_HEADER + s->zeros_bytes + s->indirection_bytes + s->packed_bytes + r->staging.bytes + r->sums_bytes;
}

static void measure(fc_forward *call, int64_t rows, int64_t columns, int64_t channels) {
    call->scratch_bytes = measure_split(call, &call->implicit_gemm, rows, columns, channels);
}

static int packs_once(const fc_forward *call, int64_t panels) {
    return fc_block_count(&call->implicit_gemm.kc) == 1 &&
           call->implicit_gemm.nc >= panels * call->implicit_gemm.regions.panel_width;
}

static int reads_in_place(const fc_forward *call) {
    const fc_input in = fc_input_of(call);
    return fc_windows_in_place(&in) && !fc_is_aliased(&in);
}

static void prepare(fc_forward *call, int threads) {
    const fc_problem *p = &call->problem;
    const int64_t most = call->kernels->tuning.gemm_region_pixels;
    fc_regions *const r = &call->implicit_gemm.regions;
    const fc_region_rules rules = {.regions = r,
                                   .most_sums = call->kernels->tuning.gemm_sum_bytes,
                                   .in_place = in_place,
                                   .measure = measure,
                                   .packs_once = packs_once};
    call->implicit_gemm.x_in_place = reads_in_place(call);
    r->images = call->implicit_gemm.x_in_place ? 1 : p->n;
    r->panels = fc_panels(call);
    r->panel_width = fc_panel_width(call);
    const int64_t rows = fc_region_rows(call, r);
    r->column_tasks = fc_ceil_div(p->ow, most);
    r->row_tasks = r->column_tasks > 1 ? rows : fc_ceil_div(rows, most / p->ow);
    fc_cut_regions(call, &rules, threads);
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_implicit_gemm_split *split = &call->implicit_gemm;
    const fc_region region = fc_locate(call, &split->regions, task);
    work k = begin(call, split, &region, scratch);
    k.bank = call->packed;
    if (split->regions.in_place) {
        k.sums = fc_region_in_place(call, &region);
        k.sums_stride = call->problem.f;
    }
    sum_ranges(&k, scratch);
    if (!split->regions.in_place) fc_store_region(call, &region, k.sums);
    fc_float_mode_leave(callers);
}

fc_implicit_gemm_split fc_direct_split(const fc_forward *call, int64_t rows, int64_t columns, int64_t *scratch_bytes) {
    fc_implicit_gemm_split split = {.x_in_place = reads_in_place(call)};
    *scratch_bytes = measure_split(call, &split, rows, columns, fc_panel_width(call));
    return split;
}

void fc_direct_sums(const fc_forward *call, const fc_implicit_gemm_split *split, const fc_region *region, void *scratch,
                    void *sums) {
    fc_hold_nothing(scratch);
    work k = begin(call, split, region, scratch);
    k.sums_only = 1;
    k.sums = sums;
    sum_ranges(&k, scratch);
}

const fc_method fc_implicit_gemm_method = {
    .name = "implicit_gemm",
    .holds = 1,
    .prepare = prepare,
    .task = compute,
    .packed_size = fc_packed_filters_size,
    .pack_tasks = fc_packed_filters_tasks,
    .pack = fc_pack_filters,
};
