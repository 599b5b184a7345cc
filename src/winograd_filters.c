/* Transforms filters for Winograd's minimal filtering: a bundle of panels and a part of the channels at a time. */
#include "winograd_filters.h"
#include "float_mode.h"
#include "pack.h"
#include "sizes.h"
#include "split.h"
#include "winograd.h"

enum {
    CHUNK = 32, /* channels that are laid out for their transform at a time */
    PART = 32,  /* channels of a task */
};

int64_t fc_filter_plane(int64_t columns, int64_t channels) { return columns * channels + FC_LINE; }

int fc_winograd_rung(const fc_forward *call) {
    return call->problem.stride_h == 2 ? 4 : 2 * (call->winograd.rows == 4) + (call->winograd.columns == 4);
}

int64_t fc_winograd_cells(int64_t outputs, int64_t stride) { return (outputs - 1) * stride + FC_SIDE; }

static int64_t cells_of(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    return fc_winograd_cells(call->winograd.rows, p->stride_h) * fc_winograd_cells(call->winograd.columns, p->stride_w);
}

static int64_t all_columns(const fc_forward *call) { return fc_panels(call) * fc_panel_width(call); }

/* Transforms the filters of some channels, `first` and the next, of one panel. */
static void transform_panel(const fc_forward *call, int64_t panel, int64_t first, int64_t channels, int vectors,
                            float *to, int64_t plane) {
    const fc_filters *w = &call->w;
    const int64_t size = fc_dtype_size(call->x.dtype), f = panel * fc_panel_width(call);
    const int lanes = call->kernels->f32.lanes;
    const int64_t columns = fc_least(vectors * lanes, call->problem.f - f);
    const char *from = (const char *)w->data + (first * w->depth + f * w->column) * size;
    float dense[FC_SIDE * FC_SIDE * CHUNK * 2 * FC_LINE]; /* [tap][channel][column] */
    const int64_t tap = CHUNK * vectors * lanes;
    for (int64_t c = 0; c < channels; c += CHUNK, from += CHUNK * w->depth * size, to += tap) {
        const int64_t count = fc_least(CHUNK, channels - c);
        for (int i = 0; i < FC_SIDE * FC_SIDE; i++)
            fc_pack_panels(call->kernels, call->x.dtype, from + (i / FC_SIDE * w->h + i % FC_SIDE * w->w) * size,
                           w->depth, w->column, count, columns, vectors * lanes, dense + i * tap, 0);
        call->kernels->winograd.filter[fc_winograd_rung(call)](&(fc_taps){dense, vectors * lanes, FC_SIDE * tap, tap},
                                                               count, vectors, to, 0, plane);
    }
}

void fc_transform_panels(const fc_forward *call, int64_t panel, int64_t panels, int64_t first, int64_t channels,
                         const fc_bank *to, int64_t at) {
    const fc_filters *w = &call->w;
    const int lanes = call->kernels->f32.lanes;
    const int64_t width = fc_panel_width(call), columns = fc_least(panels * width, call->problem.f - panel * width);
    const int readable = w->column == 1 && !fc_is_half(call->x.dtype);
    const int64_t whole = readable ? columns / width : 0;
    if (whole) {
        const float *from = (const float *)w->data + first * w->depth + panel * width;
        call->kernels->winograd.filter[fc_winograd_rung(call)](&(fc_taps){from, w->depth, w->h, w->w}, channels,
                                                               (int)(2 * whole), to->u + at * width, to->panel,
                                                               to->plane);
    }
    for (int64_t i = whole; i * width < columns; i++) {
        const int vectors = columns - i * width > lanes ? 2 : 1;
        transform_panel(call, panel + i, first, channels, vectors, to->u + i * to->panel + at * vectors * lanes,
                        to->plane);
    }
}

int64_t fc_transformed_size(const fc_forward *call) {
    return cells_of(call) * fc_filter_plane(all_columns(call), call->problem.c) * (int64_t)sizeof(float);
}

static int64_t bundles_to_transform(const fc_forward *call) { return fc_parts(all_columns(call), FC_BUNDLE); }

/* A bundle of panels and a part of the channels. */
int64_t fc_transform_tasks(const fc_forward *call) {
    return bundles_to_transform(call) * fc_parts(call->problem.c, PART);
}

fc_bank fc_packed_bank(const fc_forward *call, const void *packed, int64_t panel) {
    const int64_t step = call->problem.c * fc_panel_width(call);
    return (fc_bank){(float *)packed + panel * step, step, fc_filter_plane(all_columns(call), call->problem.c)};
}

void fc_transform_filters(const fc_forward *call, int64_t task, void *transformed) {
    const fc_float_mode callers = fc_float_mode_enter();
    const int64_t bundles = bundles_to_transform(call), panels = fc_panels(call);
    const int64_t panel = panels * (task % bundles) / bundles, end = panels * (task % bundles + 1) / bundles;
    const int64_t first = task / bundles * PART;
    const fc_bank to = fc_packed_bank(call, transformed, panel);
    fc_transform_panels(call, panel, end - panel, first, fc_least(PART, call->problem.c - first), &to, first);
    fc_float_mode_leave(callers);
}
