/* Transforms the input's tiles for Winograd's minimal filtering, and tells which of them it does not serve. */
#include "winograd_tiles.h"
#include "strip.h"
#include "winograd_outliers.h"
#include <math.h>
#include <string.h>

enum {
    CELLS = FC_PIECE + 2, /* of a tile, along an axis, at most */
    NOT_FINITE = 0xff,    /* the exponent of infinities */
    TOGETHER = 256        /* channels whose exponents, or pixels whose magnitudes, are looked at together */
};

/* The input of one row of tiles, in the caller's tensor or staged: what tiles' windows cover, from the first tile's
 * first pixel on; pixels from `from` to `end` lie inside the image. Steps count bytes. */
typedef struct segment {
    uintptr_t origin;
    int64_t row, column;
    int64_t from_y, end_y, from_x, end_x;
    const char *zeros;
} segment;

static const void *pixel(const segment *s, int64_t y, int64_t x) {
    const int inside = y >= s->from_y && y < s->end_y && x >= s->from_x && x < s->end_x;
    return inside ? (const void *)(s->origin + (uintptr_t)(y * s->row + x * s->column)) : s->zeros;
}

void fc_raise_exponents(const fc_kernels *kernels, const void *const *cells, int64_t count, int64_t channels,
                        uint8_t *exponents) {
    uint8_t found[TOGETHER];
    for (int64_t first = 0; first < channels; first += TOGETHER) {
        const int64_t some = fc_least(TOGETHER, channels - first);
        kernels->winograd.exponents(cells, count, first, some, found);
        for (int64_t c = 0; c < some; c++) {
            uint8_t *const most = &exponents[first + c];
            if (found[c] < NOT_FINITE) {
                *most = found[c] > *most ? found[c] : *most;
                continue;
            }
            for (int64_t cell = 0; cell < count; cell++) {
                uint8_t one;
                kernels->winograd.exponents(&cells[cell], 1, first + c, 1, &one);
                if (one < NOT_FINITE && one > *most) *most = one;
            }
        }
    }
}

/* Transforms a tile, whose windows begin in column `first`, for every piece of the filter; `exponents`, if wanted, are
 * of its channels' largest values. */
static void spread_tile(const fc_forward *call, const fc_grid *g, const segment *s, int64_t first, float *to,
                        uint8_t *exponents) {
    const void *cells[CELLS * CELLS];
    if (exponents) memset(exponents, 0, (size_t)call->problem.c);
    for (int64_t piece = 0; piece < g->pieces.count; piece++, to += g->blocks * g->block) {
        const int64_t top = piece / g->pieces.wide * g->pieces.rows, left = piece % g->pieces.wide * g->pieces.columns;
        for (int64_t i = 0; i < g->rows; i++)
            for (int64_t j = 0; j < g->columns; j++) {
                const int covered = top + i < g->reach_rows && left + j < g->reach_columns;
                cells[i * g->columns + j] = covered ? pixel(s, top + i, first + left + j) : s->zeros;
            }
        call->kernels->winograd.input[g->rung](cells, call->problem.c, call->winograd.block, to, g->block, g->plane);
        if (exponents) fc_raise_exponents(call->kernels, cells, g->cells, call->problem.c, exponents);
    }
}

/* The segment of `count` tiles of one row, the first of them at `start`; staged if need be. */
static segment segment_of(const fc_forward *call, const fc_grid *g, const fc_place *start, int64_t wide,
                          const fc_spread *room) {
    const fc_problem *p = &call->problem;
    const int64_t top = start->y * p->stride_h - p->pad_top, left = start->x * p->stride_w - p->pad_left;
    segment s = {.from_y = top < 0 ? -top : 0,
                 .end_y = fc_least(g->reach_rows, p->h - top),
                 .from_x = left < 0 ? -left : 0,
                 .end_x = fc_least(wide, p->w - left),
                 .zeros = room->zeros};
    if (call->direct) {
        const fc_view view = fc_direct_view(call, 0);
        s.row = view.tap_row;
        s.column = view.tap_column;
        s.origin = view.origin + (uintptr_t)(start->image * view.image + start->y * view.row + start->x * view.column);
        return s;
    }
    const fc_tensor *x = &call->x;
    const int64_t size = fc_dtype_size(x->dtype);
    s.column = g->pitch * (int64_t)sizeof(float);
    s.row = wide * s.column;
    s.origin = (uintptr_t)room->patch;
    for (int64_t i = s.from_y; i < s.end_y && s.from_x < s.end_x; i++) {
        const int64_t from = start->image * x->stride_n + (top + i) * x->stride_h + (left + s.from_x) * x->stride_w;
        fc_stage_pixels(call->kernels, x->dtype, (const char *)x->data + from * size, x->stride_w, x->stride_c,
                        s.end_x - s.from_x, p->c, room->patch + i * s.row + s.from_x * s.column, g->pitch);
    }
    return s;
}

/* The magnitudes of a segment's row of pixels. */
static void weigh_row(const fc_forward *call, const segment *s, int64_t row, int64_t wide, const float *weights,
                      float *magnitudes) {
    const void *pixels[TOGETHER];
    const float alone = sqrtf((float)call->problem.c); /* as a root of a sum of squares would have it */
    for (int64_t first = 0; first < wide; first += TOGETHER) {
        const int64_t count = fc_least(TOGETHER, wide - first);
        for (int64_t j = 0; j < count; j++) pixels[j] = pixel(s, row, first + j);
        call->kernels->winograd.magnitudes(pixels, count, weights, call->problem.c, alone, magnitudes + first);
    }
}

/* Tells which of a segment's tiles one value dominates. */
static void find_dominated(const fc_forward *call, const fc_grid *g, const segment *s, int64_t count,
                           const fc_filter_magnitudes *filters, char *uneven) {
    const int64_t step = g->m_columns * call->problem.stride_w, lanes = call->kernels->f32.lanes;
    for (int64_t t = 0; t < count; t += lanes) {
        const uintptr_t first = s->origin + (uintptr_t)(s->from_y * s->row + t * step * s->column);
        const fc_tile_row row = {.first = (const float *)first,
                                 .row_step = s->row / (int64_t)sizeof(float),
                                 .column_step = s->column / (int64_t)sizeof(float),
                                 .rows = s->end_y - s->from_y,
                                 .from = s->from_x - t * step,
                                 .end = s->end_x - t * step,
                                 .step = step,
                                 .rest = g->reach_columns - step,
                                 .tiles = fc_least(lanes, count - t)};
        fc_find_dominated(call, filters, &row, uneven + t);
    }
}

void fc_spread_tiles(const fc_forward *call, const fc_grid *g, int64_t first, int64_t end, const fc_spread *to) {
    const fc_problem *p = &call->problem;
    fc_filter_magnitudes filters = {0};
    if (to->magnitudes) filters = fc_filter_magnitudes_at(call, call->magnitudes);
    const int weighed = to->magnitudes && fc_tiles_are_weighed(call, g, &filters);
    for (int64_t tile = first, count, before = 0; tile < end; tile += count, before = count) {
        count = fc_least(end - tile, g->wide - tile % g->wide);
        const fc_place start = fc_place_of(call, g, tile);
        const int64_t wide = fc_reach(count * g->m_columns, p->stride_w, p->kw);
        const segment s = segment_of(call, g, &start, wide, to);
        int64_t known = 0; /* rows of pixels that the tiles above, of the same image, share with these */
        if (weighed && before == g->wide && count == before && start.y) {
            known = g->reach_rows - g->m_rows * p->stride_h;
            known = known > 0 ? known : 0;
            memmove(to->magnitudes, to->magnitudes + (g->reach_rows - known) * wide,
                    (size_t)(known * wide) * sizeof(float));
        }
        for (int64_t i = known; i < g->reach_rows && weighed; i++)
            weigh_row(call, &s, i, wide, filters.of_channels, to->magnitudes + i * wide);
        if (to->magnitudes && !weighed) find_dominated(call, g, &s, count, &filters, to->uneven + tile - first);
        for (int64_t t = 0; t < count; t++) {
            const int64_t column = t * g->m_columns * p->stride_w, done = tile + t - first;
            const fc_place at = fc_place_of(call, g, tile + t);
            spread_tile(call, g, &s, column, to->tiles + done * call->winograd.block,
                        to->exponents ? to->exponents + done * to->exponents_pitch : NULL);
            if (to->uneven && !to->magnitudes) to->uneven[done] = 0;
            if (weighed) to->uneven[done] = fc_is_uneven(call, g, &filters, &at, to->magnitudes + column, wide);
        }
    }
}
