/* Filters for images of few channels: lanes hold neighboring pixels of a row, several rows at a time, and each output
 * channel is computed by itself.
 *
 * In one channel, the terms of neighboring outputs are neighbors in the image row. If there is but one channel, dense
 * rows are read as they lie where all windows lie inside the image, and the few columns beside are staged with their
 * padding. Otherwise all are staged, a plane for each channel. Rows of taps above and below the image are skipped. */
#include "conv/spatial.h"
#include "base/axis.h"
#include "base/float_mode.h"
#include "conv/epilogue.h"
#include "conv/regions.h"
#include <string.h>

enum { VECTOR = FC_MOST_LANES * sizeof(float) /* bytes of the widest vector */ };

/* What one call works with. */
typedef struct work {
    const fc_forward *call;
    const fc_region *region;
    char *packed; /* filters: [output channel][term] */
    char *staged;
    char *converted; /* for a row of all channels, in or out, or a row of filters, in the accumulator's type */
    char *sums;      /* [row][channel][column]; y itself where that has one channel */
    int64_t pitch;   /* elements from a channel's or one-channel row's sums to the next's */
} work;

/* Copies a matrix of the caller's to one of the accumulator's type. */
static void copy_widened(const work *k, const fc_matrix *from, const fc_matrix *to) {
    const fc_forward *call = k->call;
    fc_matrix source = *from;
    if (fc_is_converted(call->x.dtype)) {
        source = fc_matrix_of(k->converted, from->rows, from->columns, from->columns, 1);
        fc_stage_pixels(call->kernels, call->x.dtype, from, k->converted, from->columns);
    }
    fc_copy_matrix(call->kernels, fc_call_arithmetic(call)->size, &source, to);
}

/* Copies what some of the region's columns read, of all channels, to rows of padded planes; the taps are dense. */
static fc_view stage_planes(const work *k, const fc_region *region) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_tensor *x = &call->x;
    const int64_t size = fc_call_arithmetic(call)->size, row_bytes = call->spatial.regions.staging.row_bytes;
    const fc_axis h = fc_axis_h(p), w = fc_axis_w(p);
    const fc_range rows = fc_axis_cells(&h, (fc_range){region->row, region->row + region->rows});
    const int64_t left = fc_axis_cell(&w, region->column, 0), columns = fc_axis_reach(&w, region->columns);
    const fc_range inside = fc_axis_cells_inside(left, columns, p->w);
    const int64_t count = fc_range_count(inside);
    for (int64_t y = rows.first; y < rows.end; y++) {
        char *const to = k->staged + (y - rows.first) * row_bytes;
        const int64_t at = region->image * x->stride_n + y * x->stride_h + (left + inside.first) * x->stride_w;
        if (count < columns) memset(to, 0, (size_t)(p->c * columns * size));
        if (count == 0) continue;
        const fc_matrix pixels =
            fc_matrix_of((const char *)x->data + at * fc_dtype_size(x->dtype), count, p->c, x->stride_w, x->stride_c);
        const fc_matrix planes = fc_matrix_of(to + inside.first * size, count, p->c, 1, columns);
        copy_widened(k, &pixels, &planes);
    }
    /* The view counts rows and columns of the whole output; what is staged begins at the region's. */
    const int64_t above = rows.first - fc_axis_cell(&h, region->row, 0);
    const uintptr_t before = (uintptr_t)((region->row + above) * row_bytes + region->column * size);
    return (fc_view){.origin = (uintptr_t)k->staged - before, .row = row_bytes, .column = size, .tap_row = row_bytes};
}

/* Computes some columns of the region, whose windows the view shows without a gap at the sides. */
static void filter_columns(const work *k, const fc_view *view, int64_t column, int64_t columns) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_region *region = k->region;
    const fc_arithmetic *kernels = fc_call_arithmetic(call);
    const fc_axis h = fc_axis_h(p);
    const int64_t size = kernels->size, terms = p->kh * p->kw * p->c;
    const uintptr_t image = view->origin + (uintptr_t)(region->image * view->image + column * view->column);
    /* An input row is the next one of the output row above. Views of one row of taps have no step from tap to tap. */
    const int shared = p->stride_h == 1 && p->dilation_h == 1;
    fc_spatial_rows t = {.tap_row = (shared ? view->row : view->tap_row) / size,
                         .planes = p->c,
                         .plane = columns + p->kw - 1,
                         .taps = p->kw,
                         .block = call->sum.block_runs,
                         .columns = columns,
                         .y_row = k->pitch * p->f};
    for (int64_t r = 0; r < region->rows; r += t.rows) {
        const int64_t oy = region->row + r;
        const fc_range taps = fc_axis_taps_inside(&h, oy),
                       taps_below = fc_axis_taps_inside(&h, oy + FC_SPATIAL_ROWS - 1);
        t.first = taps.first;
        t.end = taps.end;
        const int inside = fc_range_count(taps) == p->kh && fc_range_count(taps_below) == p->kh;
        t.rows = shared && inside && r + FC_SPATIAL_ROWS <= region->rows ? FC_SPATIAL_ROWS : 1;
        t.x = (const void *)(image + (uintptr_t)(oy * view->row));
        for (int64_t f = 0; f < p->f; f++) {
            t.w = k->packed + f * terms * size;
            t.y = k->sums + ((r * p->f + f) * k->pitch + column - region->column) * size;
            kernels->spatial_rows(&t);
        }
    }
}

/* Applies bias and activation and, where there are several channels, moves the sums into y. */
static void store(const work *k) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_region *region = k->region;
    const fc_tensor *y = &call->y;
    const int64_t size = fc_call_arithmetic(call)->size, row_size = k->pitch * p->f * size;
    for (int64_t r = 0; r < region->rows; r++) {
        char *const row = k->sums + r * row_size;
        fc_apply_epilogue_to_planes(call, row, region->columns, k->pitch);
        if (call->spatial.regions.in_place) continue;
        const int64_t at = region->image * y->stride_n + (region->row + r) * y->stride_h + region->column * y->stride_w;
        const char *const to = (const char *)y->data + at * fc_dtype_size(y->dtype);
        const fc_matrix sums = fc_matrix_of(row, region->columns, p->f, 1, k->pitch);
        const fc_matrix pixels = fc_matrix_of(to, region->columns, p->f, y->stride_w, y->stride_c);
        if (!fc_is_converted(y->dtype)) {
            fc_copy_matrix(call->kernels, (int)size, &sums, &pixels);
            continue;
        }
        const int interleaves = p->f > 1; /* a pixel holds its channels side by side */
        const fc_matrix dense = fc_matrix_of(k->converted, region->columns, p->f, p->f, 1);
        if (interleaves) fc_copy_matrix(call->kernels, (int)size, &sums, &dense);
        fc_store_pixels(call->kernels, y->dtype, interleaves ? k->converted : row, &pixels);
    }
}

/* Packs the filters, row of taps by row of taps, each channel's by themselves. */
static void pack_filters(const work *k) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    const int64_t size = fc_call_arithmetic(call)->size, stored = fc_dtype_size(call->x.dtype);
    for (int64_t i = 0; i < p->kh; i++)
        for (int64_t c = 0; c < p->c; c++) {
            const char *const from = (const char *)w->data + (i * w->h + c * w->depth) * stored;
            const fc_matrix taps = fc_matrix_of(from, p->kw, p->f, w->w, w->column);
            const fc_matrix packed =
                fc_matrix_of(k->packed + (i * p->kw * p->c + c) * size, p->kw, p->f, p->c, p->kh * p->kw * p->c);
            copy_widened(k, &taps, &packed);
        }
}

/* The outputs of the region whose windows are read in place: whole vectors, as what follows a row is not always memory.
 */
static fc_range read_in_place(const work *k) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_axis w = fc_axis_w(p);
    const int64_t end = k->region->column + k->region->columns, pair = 2 * fc_call_arithmetic(call)->lanes;
    const fc_range whole = fc_range_within((fc_range){k->region->column, end}, fc_axis_outputs_whole(&w));
    const int plain = p->c == 1 && call->x.stride_w == 1 && !fc_is_converted(call->x.dtype);
    const int64_t count = plain ? fc_range_count(whole) / pair * pair : 0;
    return count ? (fc_range){whole.first, whole.first + count} : (fc_range){end, end};
}

/* Computes a region: the columns that are staged, on both sides, and those in between. */
static void filter(const work *k) {
    const fc_forward *call = k->call;
    const fc_input in = fc_input_of(call);
    const fc_region *region = k->region;
    pack_filters(k);
    const fc_range unstaged = read_in_place(k);
    const fc_range sides[2] = {{region->column, unstaged.first}, {unstaged.end, region->column + region->columns}};
    for (int i = 0; i < 2; i++) {
        fc_region side = *region;
        side.column = sides[i].first;
        side.columns = fc_range_count(sides[i]);
        if (side.columns == 0) continue;
        const fc_view view = call->problem.c > 1
                                 ? stage_planes(k, &side)
                                 : fc_stage_region(&in, &side, call->spatial.regions.staging.row_bytes, k->staged);
        filter_columns(k, &view, side.column, side.columns);
    }
    if (fc_range_count(unstaged)) {
        const fc_view view = fc_view_in_place(&in, 0);
        filter_columns(k, &view, unstaged.first, fc_range_count(unstaged));
    }
    store(k);
}

static int in_place(const fc_forward *call) {
    return call->problem.f == 1 && fc_is_dense(call) && !fc_is_converted(call->y.dtype);
}

static void measure(fc_forward *call, int64_t rows, int64_t columns, int64_t channels) {
    const fc_problem *p = &call->problem;
    const fc_input in = fc_input_of(call);
    fc_spatial_split *const s = &call->spatial;
    fc_regions *const r = &s->regions;
    const int64_t size = fc_call_arithmetic(call)->size;
    const int64_t longest = fc_max((columns + p->kw - 1) * p->c, fc_max(columns, p->kw) * p->f);
    r->pixels = rows * columns;
    r->staging = fc_staging_of(&in, rows, columns);
    s->conversion_bytes = fc_is_converted(call->x.dtype) ? fc_round_up(longest * size) : 0;
    r->staging.bytes += 2 * VECTOR + s->conversion_bytes; /* a row's last vectors reach past its end */
    s->packed_bytes = fc_round_up(p->f * p->kh * p->kw * p->c * size);
    r->sums_bytes = r->in_place ? 0 : fc_round_up(r->pixels * channels * size);
    call->scratch_bytes = FC_HEADER + s->packed_bytes + r->staging.bytes + r->sums_bytes;
}

static void prepare(fc_forward *call, int threads) {
    const fc_problem *p = &call->problem;
    const fc_tuning *tuning = &call->kernels->tuning;
    fc_regions *const r = &call->spatial.regions;
    const fc_region_rules rules = {
        .regions = r, .most_sums = tuning->spatial_sum_bytes, .in_place = in_place, .measure = measure};
    r->images = p->n;
    r->panels = 1;
    r->panel_width = p->f;
    r->column_tasks = fc_ceil_div(p->ow, tuning->spatial_columns);
    const int64_t columns = fc_ceil_div(p->ow, r->column_tasks);
    r->row_tasks = fc_ceil_div(fc_region_rows(call, r), 1 + tuning->spatial_pixels / columns);
    fc_cut_regions(call, &rules, threads);
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_spatial_split *s = &call->spatial;
    const fc_region region = fc_locate(call, &s->regions, task);
    work k = {.call = call, .region = &region, .packed = (char *)scratch + FC_HEADER};
    k.staged = k.packed + s->packed_bytes;
    k.sums = k.staged + s->regions.staging.bytes;
    k.converted = k.sums - s->conversion_bytes;
    k.pitch = region.columns;
    if (s->regions.in_place) {
        k.sums = fc_region_in_place(call, &region);
        k.pitch = call->problem.ow;
    }
    filter(&k);
    fc_float_mode_leave(callers);
}

const fc_method fc_spatial_method = {.name = "spatial", .prepare = prepare, .task = compute};
