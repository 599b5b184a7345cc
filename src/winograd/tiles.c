/* Transforms the input's tiles for Winograd's minimal filtering, and finds those that need direct sums. */
#include "winograd/tiles.h"
#include <math.h>
#include <string.h>

enum {
    CELLS = FC_SUB_KERNEL + 2, /* of a tile along an axis, at most */
    NOT_FINITE = 0xff,         /* the exponent of infinities */
    TOGETHER = 256             /* channels whose exponents, or pixels whose magnitudes, are measured together */
};

/* The input of one row of tiles, in the caller's tensor or staged: what their windows cover, from the first tile's
 * first pixel on. Of its pixels, those in both ranges lie inside the image. Steps count bytes. */
typedef struct segment {
    uintptr_t origin;
    int64_t row, column;
    fc_range rows, columns;
    const char *zeros;
} segment;

static const void *pixel(const segment *s, int64_t y, int64_t x) {
    const int inside = y >= s->rows.first && y < s->rows.end && x >= s->columns.first && x < s->columns.end;
    return inside ? (const void *)(s->origin + (uintptr_t)(y * s->row + x * s->column)) : s->zeros;
}

void fc_raise_exponents(const fc_kernels *kernels, const void *const *cells, int64_t count, int64_t channels,
                        uint8_t *exponents) {
    uint8_t found[TOGETHER];
    for (int64_t first = 0; first < channels; first += TOGETHER) {
        const int64_t some = fc_min(TOGETHER, channels - first);
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

/* Transforms a tile, whose windows begin in column `first` of the segment, for every sub-kernel; `exponents`, if
 * wanted, are of its channels' largest values. */
static void transform_tile(const fc_tile_input *in, const segment *s, int64_t first, float *to, uint8_t *exponents) {
    const fc_grid *g = in->grid;
    const int64_t c = in->problem->c;
    const void *cells[CELLS * CELLS];
    if (exponents) memset(exponents, 0, (size_t)c);
    for (int64_t i = 0; i < g->sub.count; i++, to += g->blocks * g->block) {
        const int64_t top = i / g->sub.wide * g->sub.rows, left = i % g->sub.wide * g->sub.columns;
        for (int64_t y = 0; y < g->rows; y++)
            for (int64_t x = 0; x < g->columns; x++) {
                const int covered = top + y < g->reach_rows && left + x < g->reach_columns;
                cells[y * g->columns + x] = covered ? pixel(s, top + y, first + left + x) : s->zeros;
            }
        in->kernels->winograd.input[g->tile_index](cells, c, in->block, to, g->block, g->plane);
        if (exponents) fc_raise_exponents(in->kernels, cells, g->cells, c, exponents);
    }
}

/* The segment of some tiles of one row, `wide` pixels, the first tile at `start`; staged if need be. */
static segment segment_of(const fc_tile_input *in, const fc_place *start, int64_t wide, const fc_tile_transform *room) {
    const fc_problem *p = in->problem;
    const fc_grid *g = in->grid;
    const fc_tensor *x = &in->x;
    const fc_axis h = fc_axis_h(p), w = fc_axis_w(p);
    const int64_t top = fc_axis_cell(&h, start->y, 0), left = fc_axis_cell(&w, start->x, 0);
    const int64_t size = fc_dtype_size(x->dtype);
    segment s = {.rows = fc_axis_cells_inside(top, g->reach_rows, p->h),
                 .columns = fc_axis_cells_inside(left, wide, p->w),
                 .zeros = room->zeros};
    const int64_t corner = start->image * x->stride_n + top * x->stride_h + left * x->stride_w;
    if (in->x_in_place) {
        s.row = x->stride_h * size;
        s.column = x->stride_w * size;
        s.origin = (uintptr_t)x->data + (uintptr_t)(corner * size);
        return s;
    }
    s.column = g->pitch * (int64_t)sizeof(float);
    s.row = wide * s.column;
    s.origin = (uintptr_t)room->patch;
    for (int64_t i = s.rows.first; i < s.rows.end && fc_range_count(s.columns); i++) {
        const int64_t from = corner + i * x->stride_h + s.columns.first * x->stride_w;
        const fc_matrix pixels = fc_matrix_of((const char *)x->data + from * size, fc_range_count(s.columns), p->c,
                                              x->stride_w, x->stride_c);
        fc_stage_pixels(in->kernels, x->dtype, &pixels, room->patch + i * s.row + s.columns.first * s.column, g->pitch);
    }
    return s;
}

/* Measures the magnitudes of a segment's row of `wide` pixels. */
static void measure_row(const fc_tile_input *in, const segment *s, int64_t row, int64_t wide, float *magnitudes) {
    const void *pixels[TOGETHER];
    const int64_t c = in->problem->c;
    const float alone = sqrtf((float)c); /* as a root of a sum of squares would have it */
    for (int64_t first = 0; first < wide; first += TOGETHER) {
        const int64_t count = fc_min(TOGETHER, wide - first);
        for (int64_t j = 0; j < count; j++) pixels[j] = pixel(s, row, first + j);
        in->kernels->winograd.magnitudes(pixels, count, in->filters->of_channels, c, alone, magnitudes + first);
    }
}

/* Tells which of a segment's tiles are dominated by one value. */
static void find_dominated(const fc_tile_input *in, const segment *s, int64_t count, char *outliers) {
    const fc_grid *g = in->grid;
    const int64_t step = g->m_columns * in->problem->stride_w, lanes = in->kernels->f32.lanes;
    for (int64_t t = 0; t < count; t += lanes) {
        const uintptr_t first = s->origin + (uintptr_t)(s->rows.first * s->row + t * step * s->column);
        const fc_tile_row row = {.first = (const float *)first,
                                 .row_step = s->row / (int64_t)sizeof(float),
                                 .column_step = s->column / (int64_t)sizeof(float),
                                 .rows = fc_range_count(s->rows),
                                 .from = s->columns.first - t * step,
                                 .end = s->columns.end - t * step,
                                 .step = step,
                                 .rest = g->reach_columns - step,
                                 .tiles = fc_min(lanes, count - t)};
        fc_find_dominated(in->kernels, in->filters, &row, in->problem->c, outliers + t);
    }
}

/* Measures a segment's pixels. Those of the first `known` rows are known, as the last rows of the segment above. */
static void measure_segment(const fc_tile_input *in, const segment *s, int64_t known, int64_t wide, float *magnitudes) {
    const int64_t rows = in->grid->reach_rows;
    memmove(magnitudes, magnitudes + (rows - known) * wide, (size_t)(known * wide) * sizeof(float));
    for (int64_t i = known; i < rows; i++) measure_row(in, s, i, wide, magnitudes + i * wide);
}

void fc_transform_tiles(const fc_tile_input *in, fc_range tiles, const fc_tile_transform *to) {
    const fc_problem *p = in->problem;
    const fc_grid *g = in->grid;
    const int checks = in->filters && fc_checks_tiles(p, g, in->filters);
    for (int64_t tile = tiles.first, count, before = 0; tile < tiles.end; tile += count, before = count) {
        count = fc_min(tiles.end - tile, g->wide - tile % g->wide);
        const fc_place start = fc_place_of(p, g, tile);
        const int64_t wide = fc_reach(count * g->m_columns, p->stride_w, p->kw), done = tile - tiles.first;
        const segment s = segment_of(in, &start, wide, to);
        const int follows = before == g->wide && count == before && start.y; /* whole rows of tiles, of one image */
        if (checks)
            measure_segment(in, &s, follows ? fc_max(g->reach_rows - g->m_rows * p->stride_h, 0) : 0, wide,
                            to->magnitudes);
        else if (in->filters)
            find_dominated(in, &s, count, to->outliers + done);
        else if (to->outliers)
            memset(to->outliers + done, 0, (size_t)count);
        for (int64_t t = 0; t < count; t++) {
            const int64_t column = t * g->m_columns * p->stride_w;
            const fc_place at = fc_place_of(p, g, tile + t);
            transform_tile(in, &s, column, to->tiles + (done + t) * in->block,
                           to->exponents ? to->exponents + (done + t) * to->exponents_pitch : NULL);
            if (checks) {
                const fc_window_magnitudes windows = {to->magnitudes + column, wide};
                to->outliers[done + t] = (char)fc_has_outlier(in->kernels, p, g, in->filters, &at, &windows);
            }
        }
    }
}
