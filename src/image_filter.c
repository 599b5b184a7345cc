/* The matrix micro-kernel with its operands exchanged: lanes hold neighbouring pixels, tile rows hold output channels.
 *
 * With one input channel, the terms of neighbouring pixels are neighbours in the image row, so a row of the strip is
 * the packed operand as it lies, one element from term to term, and the filters are what is broadcast. Every output is
 * the same sum in the same order as with lanes of channels: the same bits, without 15 of 16 lanes idle. */
#include "image_filter.h"
#include "epilogue.h"
#include "pack.h"
#include "sizes.h"

void fc_image_filter(const fc_forward *call, const fc_region *region, const fc_view *view, const void **table,
                     void *packed, void *sums) {
    const fc_problem *p = &call->problem;
    const fc_tensor *y = &call->y;
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    const int64_t size = gemm->size, terms = p->kh * p->kw, width = 2 * gemm->lanes;
    char *const filters = packed;
    for (int64_t i = 0; i < p->kh; i++) /* [channel][term] */
        fc_copy_matrix(call->kernels, gemm->size, (const char *)call->w.data + i * call->w.h * size, call->w.w,
                       call->w.column, p->kw, p->f, filters + i * p->kw * size, 1, terms);

    for (int64_t r = 0; r < region->rows; r++) {
        const int64_t oy = region->row + r, top = oy * p->stride_h - p->pad_top;
        /* Rows outside the image are skipped: they would add zeros to the sums. */
        int64_t first = 0, end = p->kh;
        while (first < end && top + first * p->dilation_h < 0) first++;
        while (first < end && top + (end - 1) * p->dilation_h >= p->h) end--;
        char *const out = (char *)sums + r * region->columns * size * (call->in_place ? 1 : p->f);
        fc_tile tile = {.run_length = p->kw,
                        .step = 1,
                        .filters_stride = 1,
                        .filters_jump = view->tap_row / size,
                        .runs = table,
                        .sums_stride = region->columns,
                        .ahead = packed};
        int64_t b = first / call->sum.block_runs * call->sum.block_runs;
        do {
            const int64_t start = b > first ? b : first, stop = fc_least(b + call->sum.block_runs, end);
            const uintptr_t row = view->origin + (uintptr_t)(oy * view->row + start * view->tap_row);
            tile.run_count = stop > start ? stop - start : 0;
            for (int64_t f = 0; f < p->f; f += gemm->rows) {
                const int64_t count = fc_least(gemm->rows, p->f - f);
                for (int64_t i = 0; i < tile.run_count; i++)
                    for (int64_t m = 0; m < count; m++)
                        table[i * count + m] = filters + ((f + m) * terms + (start + i) * p->kw) * size;
                for (int64_t c = 0; c < region->columns; c += width) {
                    tile.columns = (int)fc_least(width, region->columns - c);
                    tile.filters = (const void *)(row + (uintptr_t)((region->column + c) * view->column));
                    tile.sums = out + (f * region->columns + c) * size;
                    (tile.columns > gemm->lanes ? gemm->tile2 : gemm->tile1)[count - 1](&tile);
                }
            }
            tile.accumulate = 1;
            b += call->sum.block_runs;
        } while (b < end);
        fc_finish_planes(call, 0, out, p->f, region->columns, region->columns);
        if (!call->in_place) {
            const int64_t at = region->image * y->stride_n + oy * y->stride_h + region->column * y->stride_w;
            fc_copy_matrix(call->kernels, gemm->size, out, 1, region->columns, region->columns, p->f,
                           (char *)y->data + at * size, y->stride_w, y->stride_c);
        }
    }
}
