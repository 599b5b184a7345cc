/* Transforms filters for Winograd's minimal filtering: a bundle of panels and a part of the channels at a time. */
#include "winograd_filters.h"
#include "float_mode.h"
#include "panels.h"
#include "sizes.h"

enum {
    CHUNK = 32, /* channels that are laid out for their transform at a time */
    PART = 32,  /* channels of a task */
};

int64_t fc_filter_plane(int64_t columns, int64_t channels) { return columns * channels + FC_LINE; }

int fc_winograd_rung(const fc_forward *call) {
    const fc_winograd *tile = &call->winograd;
    return call->problem.stride_h == 2 ? 0 : (int)(4 * (tile->rows - 1) + tile->columns - 1);
}

fc_pieces fc_pieces_of(const fc_forward *call) {
    const fc_winograd *tile = &call->winograd;
    const fc_problem *p = &call->problem;
    fc_pieces pieces = {.rows = fc_piece_taps((int)tile->rows), .columns = fc_piece_taps((int)tile->columns)};
    pieces.wide = fc_parts(p->kw, pieces.columns);
    pieces.count = fc_parts(p->kh, pieces.rows) * pieces.wide;
    pieces.cells_high = fc_reach(tile->rows, p->stride_h, pieces.rows);
    pieces.cells_wide = fc_reach(tile->columns, p->stride_w, pieces.columns);
    return pieces;
}

fc_piece fc_piece_at(const fc_forward *call, int64_t index) {
    const fc_problem *p = &call->problem;
    const fc_pieces pieces = fc_pieces_of(call);
    const int64_t row = index / pieces.wide * pieces.rows, column = index % pieces.wide * pieces.columns;
    return (fc_piece){row, column, fc_least(pieces.rows, p->kh - row), fc_least(pieces.columns, p->kw - column)};
}

static int64_t all_channels(const fc_forward *call) { return fc_pieces_of(call).count * call->problem.c; }
static int64_t all_columns(const fc_forward *call) { return fc_panels(call) * fc_panel_width(call); }

int64_t fc_filter_offset(const fc_filters *w, const fc_piece *piece, int64_t channel, int64_t column) {
    return piece->row * w->h + piece->column * w->w + channel * w->depth + column * w->column;
}

/* Transforms a piece's filters of some channels, `first` and the next, of one panel. */
static void transform_panel(const fc_forward *call, const fc_piece *piece, int64_t panel, int64_t first,
                            int64_t channels, int vectors, float *to, int64_t plane) {
    const fc_filters *w = &call->w;
    const int64_t size = fc_dtype_size(call->x.dtype), f = panel * fc_panel_width(call);
    const int lanes = call->kernels->f32.lanes;
    const int64_t columns = fc_least(vectors * lanes, call->problem.f - f);
    const char *from = (const char *)w->data + fc_filter_offset(w, piece, first, f) * size;
    float dense[FC_PIECE * FC_PIECE * CHUNK * 2 * FC_LINE]; /* [tap][channel][column] */
    const int64_t tap = CHUNK * vectors * lanes;
    const fc_taps taps = {dense, vectors * lanes, piece->columns * tap, tap, (int)piece->rows, (int)piece->columns};
    for (int64_t c = 0; c < channels; c += CHUNK, from += CHUNK * w->depth * size, to += tap) {
        const int64_t count = fc_least(CHUNK, channels - c);
        for (int64_t i = 0; i < piece->rows; i++)
            for (int64_t j = 0; j < piece->columns; j++)
                fc_pack_panels(call->kernels, call->x.dtype, from + (i * w->h + j * w->w) * size, w->depth, w->column,
                               count, columns, vectors * lanes, dense + (i * piece->columns + j) * tap, 0);
        call->kernels->winograd.filter[fc_winograd_rung(call)](&taps, count, vectors, to, 0, plane);
    }
}

void fc_transform_panels(const fc_forward *call, int64_t panel, int64_t panels, int64_t first, int64_t channels,
                         const fc_bank *to, int64_t at) {
    const fc_filters *w = &call->w;
    const int lanes = call->kernels->f32.lanes;
    const int64_t width = fc_panel_width(call), columns = fc_least(panels * width, call->problem.f - panel * width);
    const fc_piece piece = fc_piece_at(call, first / call->problem.c);
    const int readable = w->column == 1 && !fc_is_half(call->x.dtype);
    const int64_t whole = readable ? columns / width : 0;
    first %= call->problem.c;
    if (whole) {
        const float *from = (const float *)w->data + fc_filter_offset(w, &piece, first, panel * width);
        const fc_taps taps = {from, w->depth, w->h, w->w, (int)piece.rows, (int)piece.columns};
        call->kernels->winograd.filter[fc_winograd_rung(call)](&taps, channels, (int)(2 * whole), to->u + at * width,
                                                               to->panel, to->plane);
    }
    for (int64_t i = whole; i * width < columns; i++) {
        const int vectors = columns - i * width > lanes ? 2 : 1;
        transform_panel(call, &piece, panel + i, first, channels, vectors, to->u + i * to->panel + at * vectors * lanes,
                        to->plane);
    }
}

int64_t fc_transformed_size(const fc_forward *call) {
    const fc_pieces pieces = fc_pieces_of(call);
    const int64_t plane = fc_filter_plane(all_columns(call), all_channels(call));
    return pieces.cells_high * pieces.cells_wide * plane * (int64_t)sizeof(float);
}

static int64_t bundles_to_transform(const fc_forward *call) { return fc_parts(all_columns(call), FC_BUNDLE); }

/* A bundle of panels and a part of a piece's channels. */
int64_t fc_transform_tasks(const fc_forward *call) {
    return bundles_to_transform(call) * fc_pieces_of(call).count * fc_parts(call->problem.c, PART);
}

fc_bank fc_packed_bank(const fc_forward *call, const void *packed, int64_t panel) {
    const int64_t step = all_channels(call) * fc_panel_width(call);
    return (fc_bank){(float *)packed + panel * step, step, fc_filter_plane(all_columns(call), all_channels(call))};
}

void fc_transform_filters(const fc_forward *call, int64_t task, void *transformed) {
    const fc_float_mode callers = fc_float_mode_enter();
    const int64_t bundles = bundles_to_transform(call), panels = fc_panels(call);
    const int64_t panel = panels * (task % bundles) / bundles, end = panels * (task % bundles + 1) / bundles;
    const int64_t c = call->problem.c, part = task / bundles, parts = fc_parts(c, PART);
    const int64_t channel = part % parts * PART, first = part / parts * c + channel;
    const fc_bank to = fc_packed_bank(call, transformed, panel);
    fc_transform_panels(call, panel, end - panel, first, fc_least(PART, c - channel), &to, first);
    fc_float_mode_leave(callers);
}
