/* Cuts output pixels into blocks and slices, and adds up the slices' sums. */
#include "conv/pixel_blocks.h"
#include "base/float_mode.h"
#include <string.h>

int64_t fc_column_blocks(const fc_backprop_filter *call) { return fc_ceil_div(call->problem.ow, call->pixels.columns); }
int64_t fc_row_blocks(const fc_backprop_filter *call) { return fc_ceil_div(call->problem.oh, call->pixels.rows); }
int64_t fc_pixel_blocks(const fc_backprop_filter *call) {
    return call->problem.n * fc_row_blocks(call) * fc_column_blocks(call);
}

void fc_split_slices(fc_backprop_filter *call) {
    const int64_t count = fc_gradients(&call->problem), slices = call->pixels.slices;
    const int64_t totals = call->pixels.portions > 1 ? 2 : 0;
    call->in_place = slices == 1 && !totals && !fc_is_converted(call->x.dtype);
    call->sum_tasks = call->in_place ? 0 : fc_ceil_div(count, call->kernels->tuning.outer_sum_elements);
    call->partial_bytes =
        call->in_place ? 0 : fc_round_up((slices + totals) * count * fc_filter_arithmetic(call)->size);
}

fc_range fc_blocks_of_slice(const fc_backprop_filter *call, int64_t slice) {
    const int64_t portions = call->pixels.portions, slices = call->pixels.slices;
    const int64_t start = fc_split_start(call->blocks, portions, call->portion);
    const int64_t count = fc_split_start(call->blocks, portions, call->portion + 1) - start;
    return (fc_range){start + fc_split_start(count, slices, slice), start + fc_split_start(count, slices, slice + 1)};
}

char *fc_slice_sums(const fc_backprop_filter *call, int64_t slice, void *partial) {
    if (call->in_place) return call->dw;
    return (char *)partial + slice * fc_gradients(&call->problem) * fc_filter_arithmetic(call)->size;
}

fc_region fc_pixel_block(const fc_backprop_filter *call, int64_t index, int64_t group) {
    const fc_problem *p = &call->problem;
    const int64_t columns = fc_column_blocks(call), rows = fc_row_blocks(call);
    const int64_t row = index / columns % rows * call->pixels.rows, column = index % columns * call->pixels.columns;
    return (fc_region){.image = index / columns / rows,
                       .row = row,
                       .rows = fc_min(call->pixels.rows, p->oh - row),
                       .column = column,
                       .columns = fc_min(call->pixels.columns, p->ow - column),
                       .group = group};
}

void fc_sum_slices(const fc_backprop_filter *call, int64_t sum, void *partial) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_arithmetic *kernels = fc_filter_arithmetic(call);
    const fc_dtype dtype = call->x.dtype;
    const int64_t size = kernels->size, total = fc_gradients(&call->problem);
    const int64_t most = call->kernels->tuning.outer_sum_elements, first = sum * most;
    const int64_t count = fc_min(most, total - first);
    const int64_t slices = call->pixels.slices, portions = call->pixels.portions;
    char *const sums = (char *)partial + first * size;
    for (int64_t step = 1; step < slices; step *= 2)
        for (int64_t s = 0; s + step < slices; s += 2 * step)
            kernels->add_sums(sums + (s + step) * total * size, count, sums + s * total * size);
    char *result = sums;
    if (portions > 1) {
        char *const rests = sums + (slices + 1) * total * size;
        result = sums + slices * total * size;
        if (call->portion == 0) {
            memcpy(result, sums, (size_t)(count * size));
            memset(rests, 0, (size_t)(count * size));
        } else {
            kernels->add_compensated(sums, count, result, rests);
        }
        if (call->portion == portions - 1) kernels->add_sums(rests, count, result);
    }
    if (call->portion == portions - 1) {
        const fc_matrix dw = fc_matrix_of((char *)call->dw + first * fc_dtype_size(dtype), 1, count, count, 1);
        fc_store_pixels(call->kernels, dtype, result, &dw);
    }
    fc_float_mode_leave(callers);
}
