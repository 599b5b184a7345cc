/* Measures the grid of a call's tiles, and finds them in it. */
#include "winograd_grid.h"

fc_grid fc_grid_of(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const int64_t m_rows = call->winograd.rows, m_columns = call->winograd.columns;
    fc_grid g = {.m_rows = m_rows, .m_columns = m_columns};
    g.pieces = fc_pieces_of(call);
    g.rows = g.pieces.cells_high;
    g.columns = g.pieces.cells_wide;
    g.cells = g.rows * g.columns;
    g.reach_rows = fc_reach(m_rows, p->stride_h, p->kh);
    g.reach_columns = fc_reach(m_columns, p->stride_w, p->kw);
    g.high = fc_parts(p->oh, m_rows);
    g.wide = fc_parts(p->ow, m_columns);
    g.tiles = p->n * g.high * g.wide;
    g.pitch = fc_odd_lines(p->c);
    g.blocks = fc_parts(p->c, call->winograd.block);
    g.depth = g.pieces.count * g.blocks * call->winograd.block;
    g.plane = fc_odd_lines(call->pixels * call->winograd.block);
    g.block = g.cells * g.plane;
    g.products_plane = fc_odd_lines(call->pixels * call->columns_at_once);
    g.rung = fc_winograd_rung(call);
    return g;
}

fc_place fc_place_of(const fc_forward *call, const fc_grid *g, int64_t tile) {
    const fc_problem *p = &call->problem;
    const int64_t y = tile / g->wide % g->high * g->m_rows, x = tile % g->wide * g->m_columns;
    return (fc_place){.image = tile / g->wide / g->high,
                      .y = y,
                      .x = x,
                      .rows = fc_least(g->m_rows, p->oh - y),
                      .columns = fc_least(g->m_columns, p->ow - x)};
}

int64_t fc_segment_pixels(const fc_forward *call, const fc_grid *g) {
    const int64_t outputs = fc_least(call->pixels, g->wide) * g->m_columns;
    return g->reach_rows * fc_reach(outputs, call->problem.stride_w, call->problem.kw);
}
