/* Measures the grid of a problem's tiles, and finds tiles and sub-kernels in it. */
#include "winograd/grid.h"

fc_sub_kernels fc_sub_kernels_of(const fc_problem *p, const fc_winograd *tile) {
    fc_sub_kernels sub = {.rows = fc_sub_kernel_taps((int)tile->rows),
                          .columns = fc_sub_kernel_taps((int)tile->columns)};
    sub.wide = fc_ceil_div(p->kw, sub.columns);
    sub.count = fc_ceil_div(p->kh, sub.rows) * sub.wide;
    sub.cells_high = fc_reach(tile->rows, p->stride_h, sub.rows);
    sub.cells_wide = fc_reach(tile->columns, p->stride_w, sub.columns);
    return sub;
}

fc_sub_kernel fc_sub_kernel_at(const fc_problem *p, const fc_sub_kernels *all, int64_t index) {
    const int64_t row = index / all->wide * all->rows, column = index % all->wide * all->columns;
    return (fc_sub_kernel){row, column, fc_min(all->rows, p->kh - row), fc_min(all->columns, p->kw - column)};
}

int fc_tile_index(const fc_problem *p, const fc_winograd *tile) {
    return p->stride_h == 2 ? 0 : (int)(4 * (tile->rows - 1) + tile->columns - 1);
}

fc_grid fc_grid_of(const fc_problem *p, const fc_winograd *tile, int64_t most_tiles) {
    fc_grid g = {.tile_index = fc_tile_index(p, tile),
                 .m_rows = tile->rows,
                 .m_columns = tile->columns,
                 .sub = fc_sub_kernels_of(p, tile),
                 .most_tiles = most_tiles};
    g.rows = g.sub.cells_high;
    g.columns = g.sub.cells_wide;
    g.cells = g.rows * g.columns;
    g.reach_rows = fc_reach(g.m_rows, p->stride_h, p->kh);
    g.reach_columns = fc_reach(g.m_columns, p->stride_w, p->kw);
    g.high = fc_ceil_div(p->oh, g.m_rows);
    g.wide = fc_ceil_div(p->ow, g.m_columns);
    g.tiles = p->n * g.high * g.wide;
    g.pitch = fc_odd_lines(p->c);
    g.blocks = fc_ceil_div(p->c, tile->block);
    g.depth = g.sub.count * g.blocks * tile->block;
    g.plane = fc_odd_lines(most_tiles * tile->block);
    g.block = g.cells * g.plane;
    return g;
}

static fc_place cut(const fc_problem *p, const fc_grid *g, fc_place at) {
    at.rows = fc_min(g->m_rows, p->oh - at.y);
    at.columns = fc_min(g->m_columns, p->ow - at.x);
    return at;
}

fc_place fc_place_of(const fc_problem *p, const fc_grid *g, int64_t tile) {
    return cut(p, g,
               (fc_place){.image = tile / g->wide / g->high,
                          .y = tile / g->wide % g->high * g->m_rows,
                          .x = tile % g->wide * g->m_columns});
}

fc_place fc_next_place(const fc_problem *p, const fc_grid *g, fc_place at) {
    at.x += g->m_columns;
    if (at.x >= p->ow) {
        at.x = 0;
        at.y += g->m_rows;
    }
    if (at.y >= p->oh) {
        at.y = 0;
        at.image++;
    }
    return cut(p, g, at);
}

int64_t fc_segment_pixels(const fc_problem *p, const fc_grid *g) {
    const int64_t outputs = fc_min(g->most_tiles, g->wide) * g->m_columns;
    return g->reach_rows * fc_reach(outputs, p->stride_w, p->kw);
}
