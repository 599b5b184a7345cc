/* Filters for images of few channels: vectors along the row, several rows at a time, each output channel by itself.
 *
 * In one channel, the terms of neighbouring outputs are neighbours in the image row. If there is but one, dense rows
 * are read as they lie where all windows lie inside the image, and the few columns beside are staged, padded, in a
 * strip; else all are staged, a plane for each channel. Rows of taps above and below the image are skipped. */
#include "image_filter.h"
#include "epilogue.h"
#include "float_mode.h"
#include "regions.h"
#include "sizes.h"
#include <string.h>

enum {
    PIXELS = 1 << 15,  /* outputs of a region, about */
    COLUMNS = 1 << 12, /* outputs of a region's row, at most: longer rows have fewer ends to stage */
    SUMS = 1 << 19,    /* bytes of sums in scratch, at most */
    VECTOR = 64        /* bytes of the widest vector */
};

/* The first of a region's input rows, which may lie above the image. */
static int64_t first_row(const fc_forward *call, const fc_region *region) {
    return region->row * call->problem.stride_h - call->problem.pad_top;
}

/* Copies a matrix of the caller's, converted to the arithmetic type, for which there is room. */
static void copy_widened(const fc_forward *call, const void *from, int64_t from_row, int64_t from_column, int64_t rows,
                         int64_t columns, void *to, int64_t to_row, int64_t to_column, void *room) {
    const int size = fc_arithmetic(call->kernels, call->x.dtype)->size;
    if (fc_is_half(call->x.dtype)) {
        fc_stage_pixels(call->kernels, call->x.dtype, from, from_row, from_column, rows, columns, room, columns);
        from = room, from_row = columns, from_column = 1;
    }
    fc_copy_matrix(call->kernels, size, from, from_row, from_column, rows, columns, to, to_row, to_column);
}

/* Copies what the region reads, of all channels, to rows of padded planes; only with dense rows of taps. */
static fc_view stage_planes(const fc_forward *call, const fc_region *region, char *strip, char *room) {
    const fc_problem *p = &call->problem;
    const fc_tensor *x = &call->x;
    const int64_t size = fc_arithmetic(call->kernels, x->dtype)->size, columns = region->columns + p->kw - 1;
    const int64_t top = first_row(call, region), left = region->column - p->pad_left;
    const int64_t first = fc_least(columns, left < 0 ? -left : 0), end = fc_least(columns, p->w - left);
    const int64_t above = top < 0 ? -top : 0, below = fc_least(region->rows + p->kh - 1, p->h - top);
    for (int64_t r = above; r < below; r++) { /* the strip has only rows of the image */
        char *const to = strip + (r - above) * call->strip_row_bytes;
        const int64_t at = region->image * x->stride_n + (top + r) * x->stride_h + (left + first) * x->stride_w;
        if (first > 0 || end < columns) memset(to, 0, (size_t)(p->c * columns * size));
        if (end > first)
            copy_widened(call, (const char *)x->data + at * fc_dtype_size(x->dtype), x->stride_w, x->stride_c,
                         end - first, p->c, to + first * size, 1, columns, room);
    }
    /* The view counts rows and columns of the whole output; the strip begins at the region's. */
    const uintptr_t before = (uintptr_t)((region->row + above) * call->strip_row_bytes + region->column * size);
    return (fc_view){.origin = (uintptr_t)strip - before,
                     .row = call->strip_row_bytes,
                     .column = size,
                     .tap_row = call->strip_row_bytes};
}

/* What one call works with. */
typedef struct work {
    const fc_forward *call;
    const fc_region *region;
    const char *filters; /* [channel][term] */
    char *sums;          /* [row][channel][column] */
    char *room;          /* for a row of all channels, in or out, or a row of filters, in the arithmetic type */
    int64_t pitch;       /* elements from a channel's or one-channel row's sums to the next's */
} work;

/* Some columns of the region, whose windows the view shows without a gap at the sides. */
static void filter_columns(const work *k, const fc_view *view, int64_t column, int64_t columns) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_region *region = k->region;
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    const int64_t size = gemm->size, terms = p->kh * p->kw * p->c;
    const uintptr_t image = view->origin + (uintptr_t)(region->image * view->image + column * view->column);
    const int shared =
        p->stride_h == 1 && p->dilation_h == 1; /* an input row is the next one of the output row above */
    fc_image_rows t = {.tap_row =
                           (shared ? view->row : view->tap_row) / size, /* views of one row of taps have no step */
                       .planes = p->c,
                       .plane = columns + p->kw - 1,
                       .taps = p->kw,
                       .block = call->sum.block_runs,
                       .columns = columns,
                       .y_row = k->pitch * p->f};
    for (int64_t r = 0; r < region->rows; r += t.rows) {
        const int64_t oy = region->row + r, top = first_row(call, region) + r * p->stride_h;
        t.first = 0;
        t.end = p->kh;
        while (t.first < t.end && top + t.first * p->dilation_h < 0) t.first++;
        while (t.first < t.end && top + (t.end - 1) * p->dilation_h >= p->h) t.end--;
        const int inside = top >= 0 && top + FC_IMAGE_ROWS - 1 + p->kh <= p->h;
        t.rows = shared && inside && r + FC_IMAGE_ROWS <= region->rows ? FC_IMAGE_ROWS : 1;
        t.x = (const void *)(image + (uintptr_t)(oy * view->row));
        for (int64_t f = 0; f < p->f; f++) {
            t.w = k->filters + f * terms * size;
            t.y = k->sums + ((r * p->f + f) * k->pitch + column - region->column) * size;
            gemm->image_rows(&t);
        }
    }
}

/* Bias and activation, and where there are several channels the way into y. */
static void finish_rows(const work *k) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_region *region = k->region;
    const fc_tensor *y = &call->y;
    const int64_t size = fc_arithmetic(call->kernels, y->dtype)->size, row_size = k->pitch * p->f * size;
    for (int64_t r = 0; r < region->rows; r++) {
        char *const row = k->sums + r * row_size;
        fc_finish_planes(call, 0, row, p->f, region->columns, k->pitch);
        if (call->in_place) continue;
        const int64_t at = region->image * y->stride_n + (region->row + r) * y->stride_h + region->column * y->stride_w;
        char *const to = (char *)y->data + at * fc_dtype_size(y->dtype);
        if (!fc_is_half(y->dtype)) {
            fc_copy_matrix(call->kernels, (int)size, row, 1, k->pitch, region->columns, p->f, to, y->stride_w,
                           y->stride_c);
            continue;
        }
        const int apart = p->f > 1; /* channels, which a pixel holds side by side */
        if (apart) fc_copy_matrix(call->kernels, (int)size, row, 1, k->pitch, region->columns, p->f, k->room, p->f, 1);
        fc_store_pixels(call->kernels, y->dtype, apart ? k->room : row, region->columns, p->f, to, y->stride_w,
                        y->stride_c);
    }
}

/* Computes a region whole. `strip` is scratch for all that the region reads, two vectors more and, for halves, room to
 * convert them in, `packed` for the filters; `sums` is y where that has one channel, else scratch for the region's
 * outputs, which end in y. */
static void filter(const fc_forward *call, const fc_region *region, void *strip, void *packed, void *sums) {
    const fc_problem *p = &call->problem;
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    const int64_t size = gemm->size, width = 2 * gemm->lanes;
    char *const room = (char *)strip + call->strip_bytes - call->room_bytes;
    for (int64_t i = 0; i < p->kh * p->c; i++) { /* rows of taps, each channel's by themselves */
        const int64_t from = i / p->c * call->w.h + i % p->c * call->w.depth;
        copy_widened(call, (const char *)call->w.data + from * fc_dtype_size(call->x.dtype), call->w.w, call->w.column,
                     p->kw, p->f, (char *)packed + (i / p->c * p->kw * p->c + i % p->c) * size, p->c,
                     p->kh * p->kw * p->c, room);
    }
    const work k = {call, region, packed, sums, room, call->in_place ? p->ow : region->columns};

    /* The columns that are read in place: whole vectors, for what follows a row is not always memory. */
    const int64_t end = region->column + region->columns;
    int64_t first = p->pad_left > region->column ? p->pad_left : region->column;
    const int64_t last = fc_least(end, p->w - p->kw + p->pad_left + 1);
    const int plain = p->c == 1 && call->x.stride_w == 1 && !fc_is_half(call->x.dtype);
    const int64_t direct = plain && last > first ? (last - first) / width * width : 0;
    if (direct == 0) first = end;
    const int64_t pieces[2][2] = {{region->column, first}, {first + direct, end}};
    for (int i = 0; i < 2; i++) {
        fc_region piece = *region;
        piece.column = pieces[i][0];
        piece.columns = pieces[i][1] - pieces[i][0];
        if (piece.columns <= 0) continue;
        const fc_view view = p->c > 1 ? stage_planes(call, &piece, strip, room) : fc_stage_strip(call, &piece, strip);
        filter_columns(&k, &view, piece.column, piece.columns);
    }
    if (direct) {
        const fc_view view = fc_direct_view(call, 0);
        filter_columns(&k, &view, first, direct);
    }
    finish_rows(&k);
}

static int in_place(const fc_forward *call) {
    return call->problem.f == 1 && fc_is_dense(call) && !fc_is_half(call->y.dtype);
}

static void measure(fc_forward *call, int64_t rows, int64_t columns, int64_t channels) {
    const fc_problem *p = &call->problem;
    const int64_t size = fc_arithmetic_of(call)->size;
    const int64_t in = (columns + p->kw - 1) * p->c, out = (columns > p->kw ? columns : p->kw) * p->f;
    call->pixels = rows * columns;
    fc_strip_size(call, rows, columns, &call->strip_row_bytes, &call->strip_bytes);
    call->room_bytes = fc_is_half(call->x.dtype) ? fc_aligned((in > out ? in : out) * size) : 0;
    call->strip_bytes += 2 * VECTOR + call->room_bytes; /* a row's last vectors reach past its end */
    call->packed_bytes = fc_aligned(p->f * p->kh * p->kw * p->c * size);
    call->sums_bytes = call->in_place ? 0 : fc_aligned(call->pixels * channels * size);
    call->scratch_bytes = FC_HEADER + call->packed_bytes + call->strip_bytes + call->sums_bytes;
}

static void prepare(fc_forward *call, int threads) {
    const fc_region_rules rules = {.most_sums = SUMS, .in_place = in_place, .measure = measure};
    const fc_problem *p = &call->problem;
    call->pack_tasks = 0;
    call->direct = 0;
    call->images = p->n;
    call->panels = 1;
    call->panel = p->f;
    call->column_tasks = fc_parts(p->ow, COLUMNS);
    call->row_tasks = fc_parts(fc_region_rows(call), 1 + PIXELS / fc_parts(p->ow, call->column_tasks));
    fc_cut_regions(call, &rules, threads);
}

static void compute(const fc_forward *call, int64_t task, void *scratch) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_region region = fc_locate(call, task);
    char *const packed = (char *)scratch + FC_HEADER, *const strip = packed + call->packed_bytes;
    filter(call, &region, strip, packed,
           call->in_place ? fc_region_in_place(call, &region) : strip + call->strip_bytes);
    fc_float_mode_leave(callers);
}

const fc_method fc_image_filter = {.name = "image_filter", .prepare = prepare, .task = compute};
