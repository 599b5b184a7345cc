/* Convolution with few output channels: lanes hold the taps and channels of one input pixel, not of one output.
 *
 * With 3 output channels, 13 of 16 lanes would idle. So a matrix product first multiplies every input pixel with all
 * taps of all filters, kh * kw * f columns, summing over its channels. Then every output adds up the products of its
 * window, tap by tap. One input row's products are in the cache at a time. */
#include "conv/kn2row.h"
#include "base/axis.h"
#include "base/float_mode.h"
#include "conv/epilogue.h"
#include "conv/regions.h"
#include <string.h>

static int64_t columns_of(const fc_problem *p) { return p->kh * p->kw * p->f; }

/* What one task works with. */
typedef struct work {
    const fc_forward *call;
    const fc_arithmetic *gemm;
    const fc_region *region;
    fc_view view;
    const void **indirection; /* for one register tile */
    char *filters, *products; /* of an input row: [pixel][tap and output channel] */
    char *sums;               /* [pixel][channel] */
} work;

/* Packs the filters: [panel][channel][tap and output channel]. */
static void pack_filters(const work *k) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    const fc_arithmetic *gemm = k->gemm;
    const int64_t size = gemm->size;
    char *packed = k->filters;
    for (int64_t first = 0; first < columns_of(p); first += gemm->nr) {
        const int64_t count = fc_min(gemm->nr, columns_of(p) - first), width = fc_vector_columns(gemm, count);
        if (count < width) memset(packed, 0, (size_t)(p->c * width * size));
        for (int64_t i = 0; i < count; i++) {
            const int64_t tap = (first + i) / p->f, f = (first + i) % p->f;
            const int64_t at = fc_tap_offset(p, w, tap) + f * w->column;
            const fc_matrix from = fc_matrix_of((const char *)w->data + at * size, p->c, 1, w->depth, 1);
            const fc_matrix to = fc_matrix_of(packed + i * size, p->c, 1, width, 1);
            fc_copy_matrix(call->kernels, (int)size, &from, &to);
        }
        packed += p->c * width * size;
    }
}

/* Computes the products of `count` pixels, one view.column apart from `pixel` on. */
static void multiply(const work *k, uintptr_t pixel, int64_t count) {
    const fc_problem *p = &k->call->problem;
    const fc_arithmetic *gemm = k->gemm;
    const int64_t columns = columns_of(p), tiles = fc_ceil_div(count, gemm->mr);
    char *products = k->products;
    fc_tiles t = {.count = 1,
                  .batch = k->indirection,
                  .batch_size = 1,
                  .k = p->c,
                  .block_runs = 1,
                  .chunk = k->call->sum.chunk,
                  .step = 1,
                  .sums_stride = columns,
                  .prefetch = k->filters};
    for (int64_t tile = 0; tile < tiles; tile++) {
        const int rows = (int)(fc_split_start(count, tiles, tile + 1) - fc_split_start(count, tiles, tile));
        for (int m = 0; m < rows; m++) k->indirection[m] = (const void *)(pixel + (uintptr_t)(m * k->view.column));
        t.filters = k->filters;
        for (int64_t f = 0; f < columns; f += gemm->nr) {
            t.columns = (int)fc_min(gemm->nr, columns - f);
            t.filters_stride = fc_vector_columns(gemm, t.columns);
            t.sums = products + f * gemm->size;
            fc_tiles_of(gemm, t.columns)[rows - 1](&t);
            t.filters = (const char *)t.filters + p->c * t.filters_stride * gemm->size;
        }
        pixel += (uintptr_t)(rows * k->view.column);
        products += rows * columns * gemm->size;
    }
}

/* Adds the products of tap row i, which are those of some input pixels, to a row of sums. */
static void add_taps(const work *k, int64_t i, fc_range pixels, char *sums) {
    const fc_problem *p = &k->call->problem;
    const fc_region *region = k->region;
    const int64_t columns = columns_of(p), size = k->gemm->size, all = fc_range_count(pixels);
    for (int64_t o = 0, count; o < region->columns; o += count) {
        const int64_t x = region->column + o - p->pad_left - pixels.first; /* where the window's tap 0 lies */
        const fc_range taps = fc_range_within((fc_range){0, p->kw}, (fc_range){-x, all - x});
        const int whole = fc_range_count(taps) == p->kw; /* and so for all windows up to the last pixel */
        count = whole ? fc_min(region->columns - o, all - p->kw - x + 1) : 1;
        if (fc_range_count(taps) == 0) continue;
        const char *const first = k->products + ((x + taps.first) * columns + (i * p->kw + taps.first) * p->f) * size;
        k->gemm->add_taps(first, columns, (int)fc_range_count(taps), (int)p->f, count, sums + o * p->f * size);
    }
}

/* Computes the region's sums, input row by input row. */
static void sum_region(const work *k) {
    const fc_problem *p = &k->call->problem;
    const fc_region *region = k->region;
    const fc_axis h = fc_axis_h(p), w = fc_axis_w(p);
    const int64_t row_size = region->columns * p->f * k->gemm->size;
    const fc_range rows = fc_axis_cells(&h, (fc_range){region->row, region->row + region->rows});
    const fc_range pixels = fc_axis_cells(&w, (fc_range){region->column, region->column + region->columns});
    memset(k->sums, 0, (size_t)(region->rows * row_size));
    if (fc_range_count(rows) == 0 || fc_range_count(pixels) == 0) return;
    pack_filters(k);
    for (int64_t y = rows.first; y < rows.end; y++) {
        const int64_t first = region->image * k->view.image + (y + p->pad_top) * k->view.row;
        multiply(k, k->view.origin + (uintptr_t)(first + (pixels.first + p->pad_left) * k->view.column),
                 fc_range_count(pixels));
        for (int64_t i = 0; i < p->kh; i++) {
            const int64_t row = y + p->pad_top - i - region->row;
            if (row >= 0 && row < region->rows) add_taps(k, i, pixels, k->sums + row * row_size);
        }
    }
}

static void measure(fc_forward *call, int64_t rows, int64_t columns, int64_t channels) {
    const fc_problem *p = &call->problem;
    const fc_arithmetic *gemm = fc_call_arithmetic(call);
    const fc_input in = fc_input_of(call);
    fc_kn2row_split *const s = &call->kn2row;
    fc_regions *const r = &s->regions;
    r->pixels = rows * columns;
    r->staging = s->x_in_place ? (fc_staging){0} : fc_staging_of(&in, rows, columns);
    r->sums_bytes = fc_round_up(r->pixels * channels * gemm->size);
    s->indirection_bytes = fc_round_up(gemm->mr * (int64_t)sizeof(void *));
    s->filters_bytes = fc_round_up(fc_ceil_div(columns_of(p), gemm->nr) * gemm->nr * p->c * gemm->size);
    s->products_bytes = fc_round_up(fc_min(columns + p->kw - 1, p->w) * columns_of(p) * gemm->size);
    call->scratch_bytes =
        FC_HEADER + s->indirection_bytes + s->filters_bytes + s->products_bytes + r->staging.bytes + r->sums_bytes;
}

static void prepare(fc_forward *call, int threads) {
    const fc_problem *p = &call->problem;
    const fc_input in = fc_input_of(call);
    const fc_tuning *tuning = &call->kernels->tuning;
    fc_regions *const r = &call->kn2row.regions;
    const fc_region_rules rules = {.regions = r, .most_sums = tuning->kn2row_sum_bytes, .measure = measure};
    call->kn2row.x_in_place = fc_windows_in_place(&in) && !fc_is_aliased(&in);
    r->images = p->n;
    r->panels = 1;
    r->panel_width = p->f;
    r->column_tasks = fc_ceil_div(p->ow, 1 + tuning->kn2row_products / columns_of(p));
    r->row_tasks = fc_ceil_div(fc_region_rows(call, r), tuning->kn2row_rows * p->kh);
    fc_cut_regions(call, &rules, threads);
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_kn2row_split *s = &call->kn2row;
    const fc_staging *staging = &s->regions.staging;
    const fc_input in = fc_input_of(call);
    const fc_region region = fc_locate(call, &s->regions, task);
    work k = {.call = call, .gemm = fc_call_arithmetic(call), .region = &region};
    k.indirection = (const void **)((char *)scratch + FC_HEADER);
    k.filters = (char *)k.indirection + s->indirection_bytes;
    k.products = k.filters + s->filters_bytes;
    char *const staged = k.products + s->products_bytes;
    k.sums = staged + staging->bytes;
    k.view = s->x_in_place ? fc_view_in_place(&in, 0) : fc_stage_region(&in, &region, staging->row_bytes, staged);
    sum_region(&k);
    fc_apply_epilogue(call, 0, k.sums, region.rows * region.columns, region.channels, region.channels);
    fc_store_region(call, &region, k.sums);
    fc_float_mode_leave(callers);
}

const fc_method fc_kn2row_method = {.name = "kn2row", .prepare = prepare, .task = compute};
