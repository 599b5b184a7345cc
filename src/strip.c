/* Staging: the rows of the input that a task needs, padded, converted and with dense channels, in scratch.
 *
 * A strip serves two kinds of sum. Folded sums (few channels) want each filter row's kw * c terms side by side: rows
 * hold padding too, and neighbouring windows overlap in them where the taps are dense; else each pixel gets its own
 * copy of its terms. Other sums want c terms side by side: rows hold only pixels of the image, on the lattice that the
 * windows touch, at a pitch of an odd number of cache lines, so that a tile's pixels never share a cache set. */
#include "strip.h"
#include "sizes.h"
#include <string.h>

enum {
    WAYS = 8,      /* lines of a set of the first cache */
    ALIASED = 2048 /* pixels this many bytes apart share two of the first cache's sets */
};

typedef struct lattice {
    int64_t step;  /* cells of the image between neighbours */
    int64_t first; /* index of the first one inside the image, counted from the window's first cell */
    int64_t count; /* how many lie inside */
} lattice;

static int64_t greatest_common_divisor(int64_t a, int64_t b) {
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static int64_t lattice_step(int64_t taps, int64_t stride, int64_t dilation) {
    return taps == 1 ? stride : greatest_common_divisor(stride, dilation);
}

/* The cells start, start + step, ... that `outputs` windows touch, cut to an image of `size` cells. */
static lattice lattice_of(int64_t start, int64_t outputs, int64_t taps, int64_t stride, int64_t dilation,
                          int64_t size) {
    const int64_t step = lattice_step(taps, stride, dilation);
    const int64_t cells = ((outputs - 1) * stride + (taps - 1) * dilation) / step + 1;
    const int64_t first = start < 0 ? (-start + step - 1) / step : 0;
    const int64_t inside = start >= size ? 0 : (size - 1 - start) / step + 1;
    const int64_t end = fc_least(inside, cells);
    return (lattice){step, first, end > first ? end - first : 0};
}

static int64_t group_channels(const fc_problem *p) { return p->c / p->groups; }

static int gathered(const fc_problem *p) { return p->dilation_w > 1 || p->stride_w > p->kw; }

static int64_t term_size(const fc_forward *call) { return fc_arithmetic_of(call)->size; }

static int64_t pixel_pitch(const fc_problem *p) { return (group_channels(p) + 15) / 16 * 16 | 16; }

/* Most cells of an image of `size` that `outputs` windows touch. */
static int64_t lattice_most(int64_t outputs, int64_t taps, int64_t stride, int64_t dilation, int64_t size) {
    const int64_t step = lattice_step(taps, stride, dilation);
    const int64_t touched = ((outputs - 1) * stride + (taps - 1) * dilation) / step + 1;
    const int64_t present = (size - 1) / step + 1;
    return fc_least(touched, present);
}

/* Rows are staged once for each tap, rather than once each, where dilated taps leave most rows between unused. */
static int rows_by_tap(const fc_problem *p, int64_t rows) {
    return lattice_most(rows, p->kh, p->stride_h, p->dilation_h, p->h) > p->kh * rows;
}

int fc_windows_in_place(const fc_forward *call) {
    if (fc_is_half(call->x.dtype) || call->sum.folded) return 0;
    return call->x.stride_c == 1 || group_channels(&call->problem) == 1;
}

int fc_is_aliased(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const int64_t step = p->stride_w * call->x.stride_w * fc_dtype_size(call->x.dtype);
    return group_channels(p) > 1 && fc_arithmetic_of(call)->rows > WAYS && p->ow > 1 && step % ALIASED == 0;
}

fc_view fc_direct_view(const fc_forward *call, int64_t group) {
    const fc_problem *p = &call->problem;
    const fc_tensor *x = &call->x;
    const int64_t size = fc_dtype_size(x->dtype);
    const int64_t h = x->stride_h * size, w = x->stride_w * size;
    const int64_t corner = group * group_channels(p) * x->stride_c * size - p->pad_top * h - p->pad_left * w;
    return (fc_view){.origin = (uintptr_t)x->data + (uintptr_t)corner,
                     .image = x->stride_n * size,
                     .row = p->stride_h * h,
                     .column = p->stride_w * w,
                     .tap_row = p->dilation_h * h,
                     .tap_column = p->dilation_w * w};
}

void fc_strip_size(const fc_forward *call, int64_t rows, int64_t columns, int64_t *row_bytes, int64_t *bytes) {
    const fc_problem *p = &call->problem;
    int64_t terms;
    if (!call->sum.folded)
        terms = lattice_most(columns, p->kw, p->stride_w, p->dilation_w, p->w) * pixel_pitch(p);
    else if (gathered(p))
        terms = columns * p->kw * group_channels(p);
    else
        terms = ((columns - 1) * p->stride_w + p->kw) * group_channels(p);
    const int64_t distinct = lattice_most(rows, p->kh, p->stride_h, p->dilation_h, p->h);
    const int64_t count = fc_least(distinct, p->kh * rows);
    *row_bytes = fc_aligned(terms * term_size(call));
    *bytes = *row_bytes * count;
}

/* One image row for a folded sum, padding included. */
static void stage_folded_row(const fc_forward *call, const fc_region *region, const char *row, char *to) {
    const fc_problem *p = &call->problem;
    const fc_tensor *x = &call->x;
    const int64_t channels = group_channels(p), size = term_size(call), pixel = fc_dtype_size(x->dtype) * x->stride_w;
    const int64_t cell = channels * size, start = region->column * p->stride_w - p->pad_left;
    if (gathered(p)) {
        for (int64_t o = 0; o < region->columns; o++)
            for (int64_t j = 0; j < p->kw; j++, to += cell) {
                const int64_t ix = start + o * p->stride_w + j * p->dilation_w;
                if (ix >= 0 && ix < p->w)
                    fc_stage_pixels(call->kernels, x->dtype, row + ix * pixel, x->stride_w, x->stride_c, 1, channels,
                                    to, channels);
                else
                    memset(to, 0, (size_t)cell);
            }
        return;
    }
    const int64_t cells = (region->columns - 1) * p->stride_w + p->kw;
    const lattice inside = lattice_of(start, 1, cells, 1, 1, p->w);
    const int64_t end = inside.first + inside.count;
    if (inside.count == 0) {
        memset(to, 0, (size_t)(cells * cell));
        return;
    }
    memset(to, 0, (size_t)(inside.first * cell));
    fc_stage_pixels(call->kernels, x->dtype, row + (start + inside.first) * pixel, x->stride_w, x->stride_c,
                    inside.count, channels, to + inside.first * cell, channels);
    memset(to + end * cell, 0, (size_t)((cells - end) * cell));
}

static void stage_row(const fc_forward *call, const fc_region *region, int64_t iy, char *to) {
    const fc_problem *p = &call->problem;
    const fc_tensor *x = &call->x;
    const int64_t corner =
        region->image * x->stride_n + iy * x->stride_h + region->group * group_channels(p) * x->stride_c;
    const char *row = (const char *)x->data + corner * fc_dtype_size(x->dtype);
    if (call->sum.folded) {
        stage_folded_row(call, region, row, to);
        return;
    }
    const int64_t start = region->column * p->stride_w - p->pad_left;
    const lattice columns = lattice_of(start, region->columns, p->kw, p->stride_w, p->dilation_w, p->w);
    if (columns.count == 0) return;
    const int64_t first = (start + columns.first * columns.step) * x->stride_w;
    fc_stage_pixels(call->kernels, x->dtype, row + first * fc_dtype_size(x->dtype), columns.step * x->stride_w,
                    x->stride_c, columns.count, group_channels(p), to, pixel_pitch(p));
}

fc_view fc_stage_strip(const fc_forward *call, const fc_region *region, void *strip) {
    const fc_problem *p = &call->problem;
    const int64_t start = region->row * p->stride_h - p->pad_top, row_bytes = call->strip_row_bytes;
    char *to = strip;
    fc_view view = {.origin = (uintptr_t)strip};

    if (rows_by_tap(p, region->rows)) {
        for (int64_t i = 0; i < p->kh; i++)
            for (int64_t r = 0; r < region->rows; r++, to += row_bytes) {
                const int64_t iy = start + r * p->stride_h + i * p->dilation_h;
                if (iy >= 0 && iy < p->h) stage_row(call, region, iy, to);
            }
        view.row = row_bytes;
        view.tap_row = region->rows * row_bytes;
    } else {
        const lattice rows = lattice_of(start, region->rows, p->kh, p->stride_h, p->dilation_h, p->h);
        for (int64_t q = 0; q < rows.count; q++, to += row_bytes)
            stage_row(call, region, start + (rows.first + q) * rows.step, to);
        view.origin -= (uintptr_t)(rows.first * row_bytes);
        view.row = p->stride_h / rows.step * row_bytes;
        view.tap_row = p->kh == 1 ? 0 : p->dilation_h / rows.step * row_bytes;
    }

    if (call->sum.folded) {
        view.column = (gathered(p) ? p->kw : p->stride_w) * group_channels(p) * term_size(call);
    } else {
        const lattice columns = lattice_of(region->column * p->stride_w - p->pad_left, region->columns, p->kw,
                                           p->stride_w, p->dilation_w, p->w);
        const int64_t pitch = pixel_pitch(p) * term_size(call);
        view.origin -= (uintptr_t)(columns.first * pitch);
        view.column = p->stride_w / columns.step * pitch;
        view.tap_column = p->kw == 1 ? 0 : p->dilation_w / columns.step * pitch;
    }
    /* The view counts rows and columns of the whole output; the strip begins at the region's. */
    view.origin -= (uintptr_t)(region->row * view.row + region->column * view.column);
    return view;
}
