/* Convolution with few output channels: lanes hold the taps and channels of one input pixel, not of one output.
 *
 * With 3 output channels, 13 of 16 lanes would idle. So a matrix product first multiplies every input pixel with all
 * taps of all filters, kh * kw * f columns, summing over its channels; then every output adds up the products of its
 * window, tap by tap. One input row's products are in the cache at a time. */
#include "tap_products.h"
#include "epilogue.h"
#include "float_mode.h"
#include "regions.h"
#include "sizes.h"
#include <string.h>

enum {
    ROWS = 8,           /* rows of outputs in a region, for each row of the filter: a region reads kh - 1 rows more */
    PRODUCTS = 1 << 15, /* products of one row of a region, at most: 128 KB in float32 */
    SUMS = 1 << 20      /* bytes of sums in scratch, at most */
};

static int64_t columns_of(const fc_problem *p) { return p->kh * p->kw * p->f; }

static int64_t filters_size(const fc_forward *call) {
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    const int64_t width = 2 * gemm->lanes;
    return fc_aligned(fc_parts(columns_of(&call->problem), width) * width * call->problem.c * gemm->size);
}

static int64_t products_size(const fc_forward *call, int64_t columns) {
    const fc_problem *p = &call->problem;
    const int64_t pixels = fc_least(columns + p->kw - 1, p->w);
    return fc_aligned(pixels * columns_of(p) * fc_arithmetic(call->kernels, call->x.dtype)->size);
}

/* [panel][channel][tap and output channel] */
static void pack(const fc_forward *call, char *packed) {
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    const int64_t size = gemm->size, most = 2 * gemm->lanes;
    for (int64_t first = 0; first < columns_of(p); first += most) {
        const int64_t count = fc_least(most, columns_of(p) - first), width = count > gemm->lanes ? most : gemm->lanes;
        if (count < width) memset(packed, 0, (size_t)(p->c * width * size));
        for (int64_t k = 0; k < count; k++) {
            const int64_t tap = (first + k) / p->f, f = (first + k) % p->f;
            const int64_t at = tap / p->kw * w->h + tap % p->kw * w->w + f * w->column;
            fc_copy_matrix(call->kernels, (int)size, (const char *)w->data + at * size, w->depth, 1, p->c, 1,
                           packed + k * size, width, 1);
        }
        packed += p->c * width * size;
    }
}

/* The products of `count` pixels, `step` bytes apart from `pixel` on. */
static void multiply(const fc_forward *call, uintptr_t pixel, int64_t step, int64_t count, const void **table,
                     const char *filters, char *products) {
    const fc_problem *p = &call->problem;
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    const int64_t size = gemm->size, columns = columns_of(p), most = 2 * gemm->lanes;
    const int64_t tiles = fc_parts(count, gemm->rows);
    fc_tiles t = {.count = 1,
                  .runs = table,
                  .run_count = 1,
                  .run_length = p->c,
                  .block_runs = 1,
                  .chunk = call->sum.chunk,
                  .step = 1,
                  .sums_stride = columns,
                  .ahead = filters};
    for (int64_t tile = 0; tile < tiles; tile++) {
        const int rows = (int)(count * (tile + 1) / tiles - count * tile / tiles);
        for (int m = 0; m < rows; m++) table[m] = (const void *)(pixel + (uintptr_t)(m * step));
        t.filters = filters;
        for (int64_t f = 0; f < columns; f += most) {
            t.columns = (int)fc_least(most, columns - f);
            const int vectors = t.columns > gemm->lanes ? 2 : 1;
            t.filters_stride = vectors * gemm->lanes;
            t.sums = products + f * size;
            (vectors == 2 ? gemm->tile2 : gemm->tile1)[rows - 1](&t);
            t.filters = (const char *)t.filters + p->c * t.filters_stride * size;
        }
        pixel += (uintptr_t)(rows * step);
        products += rows * columns * size;
    }
}

/* Adds the products of tap row i to a row of sums. `products` begin with input pixel `first`, of `pixels`. */
static void add_taps(const fc_forward *call, const fc_region *region, int64_t i, int64_t first, int64_t pixels,
                     const char *products, char *sums) {
    const fc_problem *p = &call->problem;
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    const int64_t columns = columns_of(p), size = gemm->size;
    for (int64_t o = 0, count; o < region->columns; o += count) {
        const int64_t x = region->column + o - p->pad_left - first; /* where the window's tap 0 lies */
        const int64_t low = x < 0 ? -x : 0, high = fc_least(p->kw, pixels - x);
        const int whole = low == 0 && high == p->kw; /* and so for all windows up to the last pixel */
        count = whole ? fc_least(region->columns - o, pixels - p->kw - x + 1) : 1;
        if (high > low)
            gemm->add_taps((const char *)products + ((x + low) * columns + (i * p->kw + low) * p->f) * size, columns,
                           (int)(high - low), (int)p->f, count, sums + o * p->f * size);
    }
}

/* The region's outputs, [pixel][channel], into `sums`. `filters` and `products` are scratch of those sizes; `table`
 * holds as many addresses as a tile has rows. */
static void multiply_and_add(const fc_forward *call, const fc_region *region, const fc_view *view, const void **table,
                             void *filters, void *products, void *sums) {
    const fc_problem *p = &call->problem;
    const int64_t row_size = region->columns * p->f * fc_arithmetic(call->kernels, call->x.dtype)->size;
    const int64_t top = region->row - p->pad_top, left = region->column - p->pad_left;
    const int64_t first_y = top > 0 ? top : 0, end_y = fc_least(p->h, top + region->rows + p->kh - 1);
    const int64_t first_x = left > 0 ? left : 0, end_x = fc_least(p->w, left + region->columns + p->kw - 1);
    memset(sums, 0, (size_t)(region->rows * row_size));
    if (end_x <= first_x || end_y <= first_y) return;
    pack(call, filters);
    for (int64_t y = first_y; y < end_y; y++) {
        const uintptr_t pixel = view->origin + (uintptr_t)(region->image * view->image + (y + p->pad_top) * view->row +
                                                           (first_x + p->pad_left) * view->column);
        multiply(call, pixel, view->column, end_x - first_x, table, filters, products);
        for (int64_t i = 0; i < p->kh; i++) {
            const int64_t row = y + p->pad_top - i - region->row;
            if (row >= 0 && row < region->rows)
                add_taps(call, region, i, first_x, end_x - first_x, products, (char *)sums + row * row_size);
        }
    }
}

static int in_place(const fc_forward *call) {
    (void)call;
    return 0;
}

static void measure(fc_forward *call, int64_t rows, int64_t columns, int64_t channels) {
    const fc_gemm *gemm = fc_arithmetic_of(call);
    call->pixels = rows * columns;
    call->strip_row_bytes = call->strip_bytes = 0;
    if (!call->direct) fc_strip_size(call, rows, columns, &call->strip_row_bytes, &call->strip_bytes);
    call->table_bytes = fc_aligned(gemm->rows * (int64_t)sizeof(void *));
    call->packed_bytes = filters_size(call) + products_size(call, columns);
    call->sums_bytes = fc_aligned(call->pixels * channels * gemm->size);
    call->scratch_bytes = FC_HEADER + call->table_bytes + call->packed_bytes + call->strip_bytes + call->sums_bytes;
}

static void prepare(fc_forward *call, int threads) {
    const fc_region_rules rules = {.most_sums = SUMS, .in_place = in_place, .measure = measure};
    const fc_problem *p = &call->problem;
    call->pack_tasks = 0;
    call->direct = fc_windows_in_place(call) && !fc_is_aliased(call);
    call->images = p->n;
    call->panels = 1;
    call->panel = p->f;
    call->column_tasks = fc_parts(p->ow, 1 + PRODUCTS / columns_of(p));
    call->row_tasks = fc_parts(fc_region_rows(call), ROWS * p->kh);
    fc_cut_regions(call, &rules, threads);
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_region region = fc_locate(call, task);
    const void **table = (const void **)((char *)scratch + FC_HEADER);
    char *const filters = (char *)table + call->table_bytes, *const strip = filters + call->packed_bytes;
    char *const sums = strip + call->strip_bytes;
    const fc_view view = call->direct ? fc_direct_view(call, 0) : fc_stage_strip(call, &region, strip);
    multiply_and_add(call, &region, &view, table, filters, filters + filters_size(call), sums);
    fc_finish(call, 0, sums, region.rows * region.columns, region.channels, region.channels);
    fc_store_region(call, &region, sums, region.channels);
    fc_float_mode_leave(callers);
}

const fc_method fc_tap_products = {.name = "tap_products", .prepare = prepare, .task = compute};
