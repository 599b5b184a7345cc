/* Packs filters: a task's own, as it needs them, or the whole bank at once for many calls. */
#include "layout/filter_panels.h"

int fc_evenly_spaced(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    const int64_t tap = fc_group_channels(p) * w->depth;
    return (w->w == tap || p->kw == 1) && (w->h == p->kw * tap || p->kh == 1);
}

int fc_reads_unpacked(const fc_forward *call, int64_t pixels) {
    const int64_t tiles = fc_ceil_div(pixels, fc_call_arithmetic(call)->mr);
    const int readable = !fc_is_converted(call->x.dtype) && call->w.column == 1 && fc_evenly_spaced(call);
    return readable && tiles <= call->kernels->tuning.gemm_unpacked_tiles;
}

/* Packs a range of the sum for some panels, of which the last may be incomplete. */
static void pack_columns(const fc_forward *call, const char *filters, const fc_block *range, int64_t columns, int width,
                         char *to) {
    const fc_filters *w = &call->w;
    const int64_t depth = fc_group_channels(&call->problem), size = fc_dtype_size(call->x.dtype);
    const int64_t terms = range->run_count * range->length, row_size = width * fc_call_arithmetic(call)->size;
    int64_t term = fc_first_term(&call->sum, range);
    for (int64_t left = terms, done; left > 0; term += done, left -= done, to += done * row_size) {
        const int64_t tap = term / depth, channel = term % depth;
        const int64_t at = fc_tap_offset(&call->problem, w, tap) + channel * w->depth;
        done = fc_evenly_spaced(call) ? left : fc_min(depth - channel, left);
        const fc_matrix rows = fc_matrix_of(filters + at * size, done, columns, w->depth, w->column);
        fc_pack_panels(call->kernels, call->x.dtype, &rows, width, to, terms * width);
    }
}

void fc_pack_range(const fc_forward *call, int unpacked, const fc_region *region, const char *filters,
                   const fc_block *range, char *packed) {
    const fc_arithmetic *gemm = fc_call_arithmetic(call);
    const int64_t terms = range->run_count * range->length, together = call->kernels->tuning.pack_panels;
    const int64_t column_size = call->w.column * fc_dtype_size(call->x.dtype);
    for (int64_t f = 0, columns; f < region->channels; f += columns, packed += terms * columns * gemm->size) {
        const int64_t left = region->channels - f;
        columns = left > gemm->nr ? fc_min(left / gemm->nr, together) * gemm->nr : left;
        if (unpacked && fc_min(columns, gemm->nr) % gemm->lanes == 0) continue;
        pack_columns(call, filters + f * column_size, range, columns, fc_vector_columns(gemm, columns), packed);
    }
}

static int64_t group_bytes(const fc_forward *call) {
    const int64_t terms = call->sum.runs * call->sum.run_length;
    return fc_panels(call) * fc_panel_width(call) * terms * fc_call_arithmetic(call)->size;
}

int64_t fc_packed_filters_size(const fc_forward *call) { return call->problem.groups * group_bytes(call); }

int64_t fc_packed_filters_tasks(const fc_forward *call) { return call->problem.groups; }

void fc_pack_filters(const fc_forward *call, int64_t task, void *packed) {
    const fc_region region = {.group = task, .channels = fc_group_outputs(&call->problem)};
    const char *filters = (const char *)call->w.data + task * call->w.group * fc_dtype_size(call->x.dtype);
    const fc_block all = {0, call->sum.runs, 0, call->sum.run_length};
    fc_pack_range(call, 0, &region, filters, &all, (char *)packed + task * group_bytes(call));
}

const char *fc_packed_group(const fc_forward *call, const void *packed, int64_t group) {
    return (const char *)packed + group * group_bytes(call);
}
