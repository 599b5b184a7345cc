/* Filters for images of one channel: vectors along the row, several rows at a time, each output channel by itself.
 *
 * With one input channel, the terms of neighbouring outputs are neighbours in the image row. Where all of their windows
 * lie inside the image, rows are read as they lie; the few columns beside are staged, padded, in a strip. Rows of taps
 * above and below the image are skipped: they would add zeros to the sums. */
#include "image_filter.h"
#include "epilogue.h"
#include "pack.h"
#include "sizes.h"

/* What one call works with. */
typedef struct work {
    const fc_forward *call;
    const fc_region *region;
    const char *filters; /* [channel][term] */
    char *sums;          /* [row][channel][column] */
    int64_t pitch;       /* elements from a channel's or one-channel row's sums to the next's */
} work;

/* Some columns of the region, whose windows the view shows without a gap at the sides. */
static void filter_columns(const work *k, const fc_view *view, int64_t column, int64_t columns) {
    const fc_forward *call = k->call;
    const fc_problem *p = &call->problem;
    const fc_region *region = k->region;
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    const int64_t size = gemm->size, terms = p->kh * p->kw;
    const uintptr_t image = view->origin + (uintptr_t)(region->image * view->image + column * view->column);
    const int shared =
        p->stride_h == 1 && p->dilation_h == 1; /* an input row is the next one of the output row above */
    fc_image_rows t = {.tap_row = view->tap_row / size,
                       .taps = p->kw,
                       .block = call->sum.block_runs,
                       .columns = columns,
                       .y_row = k->pitch * p->f};
    for (int64_t r = 0; r < region->rows; r += t.rows) {
        const int64_t oy = region->row + r, top = oy * p->stride_h - p->pad_top;
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
    const int64_t size = fc_dtype_size(y->dtype), row_size = k->pitch * p->f * size;
    for (int64_t r = 0; r < region->rows; r++) {
        char *const row = k->sums + r * row_size;
        fc_finish_planes(call, 0, row, p->f, region->columns, k->pitch);
        if (call->in_place) continue;
        const int64_t at = region->image * y->stride_n + (region->row + r) * y->stride_h + region->column * y->stride_w;
        fc_copy_matrix(call->kernels, (int)size, row, 1, k->pitch, region->columns, p->f, (char *)y->data + at * size,
                       y->stride_w, y->stride_c);
    }
}

void fc_image_filter(const fc_forward *call, const fc_region *region, void *strip, void *packed, void *sums) {
    const fc_problem *p = &call->problem;
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    const int64_t size = gemm->size, terms = p->kh * p->kw, width = 2 * gemm->lanes;
    for (int64_t i = 0; i < p->kh; i++)
        fc_copy_matrix(call->kernels, (int)size, (const char *)call->w.data + i * call->w.h * size, call->w.w,
                       call->w.column, p->kw, p->f, (char *)packed + i * p->kw * size, 1, terms);
    const work k = {call, region, packed, sums, call->in_place ? p->ow : region->columns};

    /* The columns that are read in place: whole vectors, for what follows a row is not always memory. */
    const int64_t end = region->column + region->columns;
    int64_t first = p->pad_left > region->column ? p->pad_left : region->column;
    const int64_t last = fc_least(end, p->w - p->kw + p->pad_left + 1);
    const int64_t direct = call->x.stride_w == 1 && last > first ? (last - first) / width * width : 0;
    if (direct == 0) first = end;
    const int64_t pieces[2][2] = {{region->column, first}, {first + direct, end}};
    for (int i = 0; i < 2; i++) {
        fc_region piece = *region;
        piece.column = pieces[i][0];
        piece.columns = pieces[i][1] - pieces[i][0];
        if (piece.columns <= 0) continue;
        const fc_view view = fc_stage_strip(call, &piece, strip);
        filter_columns(&k, &view, piece.column, piece.columns);
    }
    if (direct) {
        const fc_view view = fc_direct_view(call, 0);
        filter_columns(&k, &view, first, direct);
    }
    finish_rows(&k);
}
