/* Packing filters: a task's own, as it needs them, or the whole bank at once for many calls. */
#include "panels.h"
#include "blocks.h"
#include "pack.h"
#include "split.h"
#include "winograd.h"

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

/* Packs `count` terms of one panel, from `term` on. */
static void pack_terms(const fc_forward *call, const char *filters, int64_t term, int64_t count, int64_t column,
                       int columns, int width, char *to) {
    const fc_filters *w = &call->w;
    const int64_t depth = call->problem.c / call->problem.groups, size = fc_dtype_size(call->x.dtype);
    const int64_t row_size = width * fc_arithmetic_of(call)->size;
    for (int64_t done; count > 0; term += done, count -= done, to += done * row_size) {
        const int64_t tap = term / depth, channel = term % depth, kw = call->problem.kw;
        const int64_t at = tap / kw * w->h + tap % kw * w->w + channel * w->depth + column * w->column;
        done = fc_evenly_spaced(call) ? count : fc_least(depth - channel, count);
        fc_pack_panel(call->kernels, call->x.dtype, filters + at * size, w->depth, w->column, done, columns, width, to);
    }
}

void fc_pack_blocks(const fc_forward *call, const fc_region *region, const char *filters, int64_t first, int64_t count,
                    char *packed) {
    const fc_gemm *gemm = fc_arithmetic_of(call);
    const int64_t most = fc_panel_width(call);
    fc_block b = fc_block_at(&call->sum, first);
    for (int64_t i = 0; i < count; i++, fc_next_block(&call->sum, &b)) {
        const int64_t terms = b.run_count * b.length;
        for (int64_t f = 0; f < region->channels; f += most, packed += terms * most * gemm->size) {
            const int columns = (int)fc_least(most, region->channels - f);
            const int width = columns > gemm->lanes ? 2 * gemm->lanes : gemm->lanes;
            if (!fc_unpacked(call, columns))
                pack_terms(call, filters, fc_first_term(&call->sum, &b), terms, f, columns, width, packed);
        }
    }
}

static int64_t group_bytes(const fc_forward *call) {
    const int64_t terms = call->sum.runs * call->sum.run_length;
    return fc_panels(call) * fc_panel_width(call) * terms * fc_arithmetic_of(call)->size;
}

int64_t fc_packed_size(const fc_forward *call) {
    return call->lanes == FC_WINOGRAD ? fc_transformed_size(call) : call->problem.groups * group_bytes(call);
}

int64_t fc_pack_tasks(const fc_forward *call) {
    return call->lanes == FC_WINOGRAD ? fc_transform_tasks(call) : call->problem.groups;
}

/* A group a task. */
void fc_pack(const fc_forward *call, int64_t task, void *packed) {
    if (call->lanes == FC_WINOGRAD) {
        fc_transform_filters(call, task, packed);
        return;
    }
    fc_forward whole = *call;
    whole.packed = packed;
    const fc_region region = {.group = task, .channels = call->problem.f / call->problem.groups};
    const char *filters = (const char *)call->w.data + task * call->w.group * fc_dtype_size(call->x.dtype);
    fc_pack_blocks(&whole, &region, filters, 0, fc_block_count(&call->sum), (char *)packed + task * group_bytes(call));
}

const char *fc_packed_group(const fc_forward *call, int64_t group) {
    return (const char *)call->packed + group * group_bytes(call);
}
