/* Finds pixels of a region, and fills the indirection buffer with the addresses of their terms. */
#include "layout/indirection.h"

fc_indirection fc_indirection_of(const fc_input *in, const fc_region *region, const fc_view *view, const void *zeros) {
    const fc_axis h = fc_axis_h(in->problem), w = fc_axis_w(in->problem);
    const int folded = (int)in->sum->folded;
    return (fc_indirection){.problem = in->problem,
                            .region = region,
                            .view = *view,
                            .folded = folded,
                            .size = fc_arithmetic_of(in->kernels, in->x->dtype)->size,
                            .whole_h = fc_axis_outputs_whole(&h),
                            .whole_w = folded ? (fc_range){0, w.outputs} : fc_axis_outputs_whole(&w),
                            .zeros = zeros};
}

static int within(int64_t at, int64_t count, fc_range range) { return at >= range.first && at + count <= range.end; }

/* To the first pixel of the region's next row. */
static fc_position next_row(const fc_indirection *k, fc_position at) {
    at.ox = k->region->column;
    if (++at.oy == k->problem->oh) {
        at.oy = 0;
        at.n++;
    }
    return at;
}

void fc_find_pixels(const fc_indirection *k, fc_position *at, int count, fc_pixels *found) {
    const fc_view *view = &k->view;
    const int64_t end = k->region->column + k->region->columns, column = view->column;
    fc_position pixel = *at;
    found->count = count;
    found->inside = 1;
    for (int m = 0; m < count;) {
        const int stop = (int)fc_min(count, m + end - at->ox);
        uintptr_t base = view->origin + (uintptr_t)(at->n * view->image + at->oy * view->row + at->ox * column);
        found->inside &= within(at->oy, 1, k->whole_h) & within(at->ox, stop - m, k->whole_w);
        at->ox += stop - m;
        for (; m < stop; m++, base += (uintptr_t)column) found->base[m] = base;
        if (at->ox == end) *at = next_row(k, *at);
    }
    if (found->inside) return;
    const fc_axis h = fc_axis_h(k->problem), w = fc_axis_w(k->problem);
    for (int m = 0; m < count; m++) {
        found->y[m] = fc_axis_cell(&h, pixel.oy, 0);
        found->x[m] = fc_axis_cell(&w, pixel.ox, 0);
        if (++pixel.ox == end) pixel = next_row(k, pixel);
    }
}

void fc_fill_indirection(const fc_indirection *k, const fc_block *range, const fc_pixels *at, const void **buffer) {
    const fc_problem *p = k->problem;
    const fc_view *view = &k->view;
    const int count = at->count, folded = k->folded;
    const int64_t taps_w = folded ? 1 : p->kw;
    int64_t i = range->first_run ? range->first_run / taps_w : 0, j = range->first_run - i * taps_w;
    for (int64_t r = 0; r < range->run_count; r++, buffer += count) {
        const uintptr_t offset = (uintptr_t)(i * view->tap_row + j * view->tap_column + range->first_term * k->size);
        for (int m = 0; m < count; m++) buffer[m] = (const void *)(at->base[m] + offset);
        for (int m = 0; m < count && !at->inside; m++) { /* without branches, which would be mispredicted */
            const int64_t y = at->y[m] + i * p->dilation_h, x = at->x[m] + j * p->dilation_w;
            const int outside = (y < 0) | (y >= p->h) | ((!folded) & ((x < 0) | (x >= p->w)));
            buffer[m] = outside ? k->zeros : buffer[m];
        }
        if (++j == taps_w) j = 0, i++;
    }
}
