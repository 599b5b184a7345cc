/* Cuts output pixels into blocks and slices, and adds up the slices' sums. */
#include "pixel_blocks.h"
#include "float_mode.h"
#include "sizes.h"
#include <string.h>

enum { SUM_PART = 1 << 14 /* elements of the gradient in one sum */ };

static const fc_gemm *arithmetic(const fc_backprop_filter *call) { return fc_arithmetic_of(&call->forward); }

int64_t fc_column_blocks(const fc_backprop_filter *call) {
    return fc_parts(call->forward.problem.ow, call->pixels.columns);
}
int64_t fc_row_blocks(const fc_backprop_filter *call) { return fc_parts(call->forward.problem.oh, call->pixels.rows); }

void fc_split_slices(fc_backprop_filter *call) {
    const fc_forward *forward = &call->forward;
    const int64_t count = fc_terms(&forward->problem) * forward->problem.f, slices = call->pixels.slices;
    const int64_t totals = call->pixels.portions > 1 ? 2 : 0;
    call->in_place = slices == 1 && !totals && !fc_is_half(forward->x.dtype);
    call->sums = call->in_place ? 0 : fc_parts(count, SUM_PART);
    call->partial_bytes = call->in_place ? 0 : fc_aligned((slices + totals) * count * arithmetic(call)->size);
}

void fc_blocks_of_slice(const fc_backprop_filter *call, int64_t slice, int64_t *first, int64_t *end) {
    const int64_t portions = call->pixels.portions, slices = call->pixels.slices;
    const int64_t start = fc_part_start(call->blocks, portions, call->portion);
    const int64_t count = fc_part_start(call->blocks, portions, call->portion + 1) - start;
    *first = start + fc_part_start(count, slices, slice);
    *end = start + fc_part_start(count, slices, slice + 1);
}

fc_region fc_pixel_block(const fc_backprop_filter *call, int64_t index, int64_t group) {
    const fc_problem *p = &call->forward.problem;
    const int64_t columns = fc_column_blocks(call), rows = fc_row_blocks(call);
    const int64_t row = index / columns % rows * call->pixels.rows, column = index % columns * call->pixels.columns;
    return (fc_region){.image = index / columns / rows,
                       .row = row,
                       .rows = fc_least(call->pixels.rows, p->oh - row),
                       .column = column,
                       .columns = fc_least(call->pixels.columns, p->ow - column),
                       .group = group};
}

void fc_sum_slices(const fc_backprop_filter *call, int64_t sum, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_forward *forward = &call->forward;
    const fc_dtype dtype = forward->x.dtype;
    const int64_t size = arithmetic(call)->size, total = fc_terms(&forward->problem) * forward->problem.f;
    const int64_t first = sum * SUM_PART, count = fc_least(SUM_PART, total - first);
    const int64_t slices = call->pixels.slices, portions = call->pixels.portions;
    char *const sums = (char *)partial + first * size;
    for (int64_t step = 1; step < slices; step *= 2)
        for (int64_t s = 0; s + step < slices; s += 2 * step)
            arithmetic(call)->add_sums(sums + (s + step) * total * size, count, sums + s * total * size);
    char *result = sums;
    if (portions > 1) {
        char *const rests = sums + (slices + 1) * total * size;
        result = sums + slices * total * size;
        if (call->portion == 0) {
            memcpy(result, sums, (size_t)(count * size));
            memset(rests, 0, (size_t)(count * size));
        } else {
            arithmetic(call)->add_compensated(sums, count, result, rests);
        }
        if (call->portion == portions - 1) arithmetic(call)->add_sums(rests, count, result);
    }
    if (call->portion == portions - 1)
        fc_store_pixels(forward->kernels, dtype, result, 1, count, (char *)call->w + first * fc_dtype_size(dtype),
                        count, 1);
    fc_float_mode_leave(callers);
}
