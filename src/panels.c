/* Packing filters: a task's own, as it needs them, or the whole bank at once for many calls. */
#include "panels.h"
#include "sizes.h"

enum { PANELS = 8 /* packed together, as their rows lie side by side */ };

int64_t fc_panel_width(const fc_forward *call) { return 2 * fc_arithmetic_of(call)->lanes; }

int64_t fc_panels(const fc_forward *call) {
    return fc_parts(call->problem.f / call->problem.groups, fc_panel_width(call));
}

int fc_evenly_spaced(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    const int64_t tap = p->c / p->groups * w->depth;
    return (w->w == tap || p->kw == 1) && (w->h == p->kw * tap || p->kh == 1);
}

/* The same for all regions of a call, though one may have a tile less than another: a thread keeps what it packed from
 * region to region. */
int fc_unpacked(const fc_forward *call, int64_t columns) {
    const fc_gemm *gemm = fc_arithmetic_of(call);
    return !call->packed && fc_parts(call->pixels, gemm->rows) <= gemm->unpacked_tiles && columns % gemm->lanes == 0 &&
           !fc_is_half(call->x.dtype) && call->w.column == 1 && fc_evenly_spaced(call);
}

/* Packs a range of the sum for some panels, of which the last may be incomplete. */
static void pack_columns(const fc_forward *call, const char *filters, const fc_block *range, int64_t column,
                         int64_t columns, int width, char *to) {
    const fc_filters *w = &call->w;
    const int64_t depth = call->problem.c / call->problem.groups, size = fc_dtype_size(call->x.dtype);
    const int64_t terms = range->run_count * range->length, row_size = width * fc_arithmetic_of(call)->size;
    int64_t term = fc_first_term(&call->sum, range);
    for (int64_t left = terms, done; left > 0; term += done, left -= done, to += done * row_size) {
        const int64_t tap = term / depth, channel = term % depth, kw = call->problem.kw;
        const int64_t at = tap / kw * w->h + tap % kw * w->w + channel * w->depth + column * w->column;
        done = fc_evenly_spaced(call) ? left : fc_least(depth - channel, left);
        fc_pack_panels(call->kernels, call->x.dtype, filters + at * size, w->depth, w->column, done, columns, width, to,
                       terms * width);
    }
}

void fc_pack_range(const fc_forward *call, const fc_region *region, const char *filters, const fc_block *range,
                   char *packed) {
    const fc_gemm *gemm = fc_arithmetic_of(call);
    const int64_t most = fc_panel_width(call), terms = range->run_count * range->length;
    for (int64_t f = 0, columns; f < region->channels; f += columns, packed += terms * columns * gemm->size) {
        const int64_t left = region->channels - f;
        columns = left > most ? fc_least(left / most, PANELS) * most : left;
        const int width = (int)(columns > gemm->lanes ? most : gemm->lanes);
        if (!fc_unpacked(call, fc_least(columns, most))) pack_columns(call, filters, range, f, columns, width, packed);
    }
}

static int64_t group_bytes(const fc_forward *call) {
    const int64_t terms = call->sum.runs * call->sum.run_length;
    return fc_panels(call) * fc_panel_width(call) * terms * fc_arithmetic_of(call)->size;
}

int64_t fc_bank_size(const fc_forward *call) { return call->problem.groups * group_bytes(call); }

int64_t fc_bank_tasks(const fc_forward *call) { return call->problem.groups; }

void fc_pack_bank(const fc_forward *call, int64_t task, void *packed) {
    fc_forward whole = *call;
    whole.packed = packed;
    const fc_region region = {.group = task, .channels = call->problem.f / call->problem.groups};
    const char *filters = (const char *)call->w.data + task * call->w.group * fc_dtype_size(call->x.dtype);
    const fc_block all = {0, call->sum.runs, 0, call->sum.run_length};
    fc_pack_range(&whole, &region, filters, &all, (char *)packed + task * group_bytes(call));
}

const char *fc_packed_group(const fc_forward *call, int64_t group) {
    return (const char *)call->packed + group * group_bytes(call);
}
