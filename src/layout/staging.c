/* Staging: the rows of the input that a task needs, padded, converted and with dense channels, in scratch.
 *
 * Staged rows serve two kinds of sum. Folded sums (few channels) want the kw * c terms of each filter row side by side:
 * staged rows hold the padding too, and neighboring windows overlap in them. Where the taps are dilated, or windows
 * leave gaps, each output gets its own copy of its terms instead. Other sums want c terms side by side: staged rows
 * hold only pixels of the image, those of the lattice that the windows touch. Their pitch is an odd number of cache
 * lines, so that the pixels of a register tile never share a set of the first cache. */
#include "layout/staging.h"
#include "base/axis.h"
#include <string.h>

/* Along one axis, the cells that some windows touch: first, first + 1, ... times `step` after the first window's
 * beginning, as far as they lie in the image. */
typedef struct lattice {
    int64_t step, first, count;
} lattice;

static int64_t greatest_common_divisor(int64_t a, int64_t b) {
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static int64_t lattice_step(const fc_axis *a) {
    return a->taps == 1 ? a->stride : greatest_common_divisor(a->stride, a->dilation);
}

static lattice lattice_of(const fc_axis *a, int64_t output, int64_t outputs) {
    const int64_t step = lattice_step(a), touched = (fc_axis_reach(a, outputs) - 1) / step + 1;
    const fc_range inside = fc_axis_steps_inside(fc_axis_cell(a, output, 0), step, a->size);
    const fc_range met = fc_range_within((fc_range){0, touched}, inside);
    return (lattice){step, met.first, fc_range_count(met)};
}

/* Most cells of the image that the windows of so many outputs touch. */
static int64_t lattice_most(const fc_axis *a, int64_t outputs) {
    const int64_t step = lattice_step(a);
    return fc_min((fc_axis_reach(a, outputs) - 1) / step + 1, (a->size - 1) / step + 1);
}

/* Whether a folded sum's terms are copied for each output. */
static int has_own_terms(const fc_problem *p) { return p->dilation_w > 1 || p->stride_w > p->kw; }

static int64_t term_size(const fc_input *in) { return fc_arithmetic_of(in->kernels, in->x->dtype)->size; }

/* Elements from a staged pixel to the next. */
static int64_t pixel_pitch(const fc_problem *p) { return (fc_group_channels(p) + 15) / 16 * 16 | 16; }

/* Whether rows are staged once for each tap: where taps are dilated, most rows between them may be unused. */
static int stages_by_tap(const fc_axis *h, int64_t rows) { return lattice_most(h, rows) > h->taps * rows; }

int fc_windows_in_place(const fc_input *in) {
    if (fc_is_converted(in->x->dtype) || in->sum->folded) return 0;
    return in->x->stride_c == 1 || fc_group_channels(in->problem) == 1;
}

int fc_is_aliased(const fc_input *in) {
    const fc_problem *p = in->problem;
    const fc_tuning *t = &in->kernels->tuning;
    const int64_t step = p->stride_w * in->x->stride_w * fc_dtype_size(in->x->dtype);
    const int many = fc_arithmetic_of(in->kernels, in->x->dtype)->mr > t->cache_ways && p->ow > 1;
    return fc_group_channels(p) > 1 && many && step % t->cache_alias_bytes == 0;
}

fc_view fc_view_in_place(const fc_input *in, int64_t group) {
    const fc_problem *p = in->problem;
    const fc_tensor *x = in->x;
    const int64_t size = fc_dtype_size(x->dtype);
    const int64_t h = x->stride_h * size, w = x->stride_w * size;
    const int64_t corner = group * fc_group_channels(p) * x->stride_c * size - p->pad_top * h - p->pad_left * w;
    return (fc_view){.origin = (uintptr_t)x->data + (uintptr_t)corner,
                     .image = x->stride_n * size,
                     .row = p->stride_h * h,
                     .column = p->stride_w * w,
                     .tap_row = p->dilation_h * h,
                     .tap_column = p->dilation_w * w};
}

fc_staging fc_staging_of(const fc_input *in, int64_t rows, int64_t columns) {
    const fc_problem *p = in->problem;
    const fc_axis h = fc_axis_h(p), w = fc_axis_w(p);
    int64_t terms;
    if (!in->sum->folded)
        terms = lattice_most(&w, columns) * pixel_pitch(p);
    else if (has_own_terms(p))
        terms = columns * p->kw * fc_group_channels(p);
    else
        terms = fc_axis_reach(&w, columns) * fc_group_channels(p);
    const int64_t row_bytes = fc_round_up(terms * term_size(in));
    return (fc_staging){row_bytes, row_bytes * fc_min(lattice_most(&h, rows), p->kh * rows)};
}

/* Pixels of an image row, `step` of the image's cells apart. */
static fc_matrix pixels_of(const fc_input *in, const char *row, int64_t first, int64_t count, int64_t step) {
    const fc_tensor *x = in->x;
    return fc_matrix_of(row + first * x->stride_w * fc_dtype_size(x->dtype), count, fc_group_channels(in->problem),
                        step * x->stride_w, x->stride_c);
}

/* Where a row of the image, of the region's group, begins. */
static const char *row_at(const fc_input *in, const fc_region *region, int64_t iy) {
    const fc_tensor *x = in->x;
    const int64_t channel = region->group * fc_group_channels(in->problem);
    return (const char *)x->data +
           (region->image * x->stride_n + iy * x->stride_h + channel * x->stride_c) * fc_dtype_size(x->dtype);
}

/* Stages one image row for a folded sum, where each output gets its own copy of its terms. */
static void stage_own_terms(const fc_input *in, const fc_region *region, const char *row, char *to) {
    const fc_problem *p = in->problem;
    const fc_axis w = fc_axis_w(p);
    const int64_t channels = fc_group_channels(p), cell = channels * term_size(in);
    for (int64_t o = region->column; o < region->column + region->columns; o++)
        for (int64_t j = 0; j < p->kw; j++, to += cell) {
            const int64_t ix = fc_axis_cell(&w, o, j);
            if (ix < 0 || ix >= p->w) {
                memset(to, 0, (size_t)cell);
                continue;
            }
            const fc_matrix pixel = pixels_of(in, row, ix, 1, 1);
            fc_stage_pixels(in->kernels, in->x->dtype, &pixel, to, channels);
        }
}

/* Stages `count` image rows for a folded sum, `step` rows apart from row iy on, padding included. Where their elements
 * lie at one distance they are copied together: one by one, short rows would cost more calls than copying. */
static void stage_folded_rows(const fc_input *in, const fc_region *region, int64_t iy, int64_t step, int64_t count,
                              char *to, int64_t row_bytes) {
    const fc_problem *p = in->problem;
    const fc_tensor *x = in->x;
    const fc_axis w = fc_axis_w(p);
    const int64_t cell = fc_group_channels(p) * term_size(in), channels = fc_group_channels(p);
    const int64_t start = fc_axis_cell(&w, region->column, 0), cells = fc_axis_reach(&w, region->columns);
    const fc_range inside = fc_axis_cells_inside(start, cells, p->w);
    const int64_t pixels = fc_range_count(inside), before = inside.first * cell, filled = pixels * cell;
    const int64_t after = (cells - inside.end) * cell;
    for (int64_t r = 0; r < count && before; r++) memset(to + r * row_bytes, 0, (size_t)before);
    for (int64_t r = 0; r < count && after; r++) memset(to + r * row_bytes + before + filled, 0, (size_t)after);
    if (pixels == 0) return;
    const int64_t column = channels == 1 ? x->stride_w : x->stride_c;
    const char *const first = row_at(in, region, iy) + (start + inside.first) * x->stride_w * fc_dtype_size(x->dtype);
    if (channels == 1 || x->stride_w == channels * x->stride_c) {
        const fc_matrix rows = fc_matrix_of(first, count, pixels * channels, step * x->stride_h, column);
        fc_stage_pixels(in->kernels, x->dtype, &rows, to + before, row_bytes / term_size(in));
        return;
    }
    for (int64_t r = 0; r < count; r++) {
        const char *const row = row_at(in, region, iy + r * step);
        const fc_matrix of_row = pixels_of(in, row, start + inside.first, pixels, 1);
        fc_stage_pixels(in->kernels, x->dtype, &of_row, to + r * row_bytes + before, channels);
    }
}

/* Stages `count` image rows, `step` rows apart from row iy on. */
static void stage_rows(const fc_input *in, const fc_region *region, int64_t iy, int64_t step, int64_t count, char *to,
                       int64_t row_bytes) {
    const fc_problem *p = in->problem;
    if (in->sum->folded && !has_own_terms(p)) {
        stage_folded_rows(in, region, iy, step, count, to, row_bytes);
        return;
    }
    const fc_axis w = fc_axis_w(p);
    const lattice columns = lattice_of(&w, region->column, region->columns);
    const int64_t first = fc_axis_cell(&w, region->column, 0) + columns.first * columns.step;
    for (int64_t r = 0; r < count; r++, to += row_bytes) {
        const char *const row = row_at(in, region, iy + r * step);
        if (in->sum->folded) {
            stage_own_terms(in, region, row, to);
        } else if (columns.count) {
            const fc_matrix pixels = pixels_of(in, row, first, columns.count, columns.step);
            fc_stage_pixels(in->kernels, in->x->dtype, &pixels, to, pixel_pitch(p));
        }
    }
}

fc_view fc_stage_region(const fc_input *in, const fc_region *region, int64_t row_bytes, void *staged) {
    const fc_problem *p = in->problem;
    const fc_axis h = fc_axis_h(p), w = fc_axis_w(p);
    const int64_t start = fc_axis_cell(&h, region->row, 0);
    char *to = staged;
    fc_view view = {.origin = (uintptr_t)staged};

    if (stages_by_tap(&h, region->rows)) {
        for (int64_t i = 0; i < p->kh; i++)
            for (int64_t r = 0; r < region->rows; r++, to += row_bytes) {
                const int64_t iy = start + r * p->stride_h + i * p->dilation_h;
                if (iy >= 0 && iy < p->h) stage_rows(in, region, iy, 1, 1, to, row_bytes);
            }
        view.row = row_bytes;
        view.tap_row = region->rows * row_bytes;
    } else {
        const lattice rows = lattice_of(&h, region->row, region->rows);
        stage_rows(in, region, start + rows.first * rows.step, rows.step, rows.count, to, row_bytes);
        view.origin -= (uintptr_t)(rows.first * row_bytes);
        view.row = p->stride_h / rows.step * row_bytes;
        view.tap_row = p->kh == 1 ? 0 : p->dilation_h / rows.step * row_bytes;
    }

    if (in->sum->folded) {
        view.column = (has_own_terms(p) ? p->kw : p->stride_w) * fc_group_channels(p) * term_size(in);
    } else {
        const lattice columns = lattice_of(&w, region->column, region->columns);
        const int64_t pitch = pixel_pitch(p) * term_size(in);
        view.origin -= (uintptr_t)(columns.first * pitch);
        view.column = p->stride_w / columns.step * pitch;
        view.tap_column = p->kw == 1 ? 0 : p->dilation_w / columns.step * pitch;
    }
    /* The view counts rows and columns of the whole output; what is staged begins at the region's. */
    view.origin -= (uintptr_t)(region->row * view.row + region->column * view.column);
    return view;
}
