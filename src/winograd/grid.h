/* The grid of tiles of Winograd's minimal filtering: how a filter is cut into sub-kernels, where tiles lie in the
 * images, and how a task lays them out. */
#ifndef FC_WINOGRAD_GRID_H
#define FC_WINOGRAD_GRID_H

#include "base/arith.h"
#include "base/problem.h"
#include "kernels/winograd.h"

enum {
    FC_WIDEST = 15,                             /* taps of a filter along an axis, at most */
    FC_TILE_OUTPUTS = 4,                        /* outputs of a tile along an axis, at most */
    FC_REACH = FC_WIDEST + FC_TILE_OUTPUTS - 1, /* pixels that their windows cover, at most */
    FC_LINE_FLOATS = 16                         /* floats of a cache line */
};

/* Pixels that the windows of so many outputs cover, along an axis; those of a sub-kernel are a tile's cells. */
static inline int64_t fc_reach(int64_t outputs, int64_t stride, int64_t taps) { return (outputs - 1) * stride + taps; }

/* Elements rounded up to an odd number of lines. Planes of cells begin so far apart, for the cells of a tile not to
 * share a set of the first cache. */
static inline int64_t fc_odd_lines(int64_t elements) {
    return (fc_ceil_div(elements, FC_LINE_FLOATS) | 1) * FC_LINE_FLOATS;
}

/* How filters are cut into sub-kernels. */
typedef struct fc_sub_kernels {
    int64_t rows, columns;          /* taps of one, but for the last ones */
    int64_t wide, count;            /* of them in a row, and in all */
    int64_t cells_high, cells_wide; /* cells of a tile, as one sub-kernel meets it */
} fc_sub_kernels;
fc_sub_kernels fc_sub_kernels_of(const fc_problem *p, const fc_winograd *tile);

/* One of them: its first tap, and the taps inside the filter. */
typedef struct fc_sub_kernel {
    int64_t row, column, rows, columns;
} fc_sub_kernel;
fc_sub_kernel fc_sub_kernel_at(const fc_problem *p, const fc_sub_kernels *all, int64_t index);

/* The index of the tile's transforms in fc_winograd_kernels. */
int fc_tile_index(const fc_problem *p, const fc_winograd *tile);

/* How the images, and the tiles that a task has, are laid out; sizes and steps count elements. */
typedef struct fc_grid {
    int tile_index;
    int64_t m_rows, m_columns, rows, columns, cells; /* outputs and cells of a tile */
    int64_t reach_rows, reach_columns;               /* pixels that its outputs' windows cover */
    fc_sub_kernels sub;
    int64_t high, wide, tiles; /* tiles of an image, and of all images */
    int64_t pitch;             /* of staged pixels of all channels */
    int64_t blocks, depth;     /* blocks of a sub-kernel's channels; transformed channels of all sub-kernels */
    int64_t plane, block;      /* of transformed tiles: from cell to cell, and from block to block */
    int64_t most_tiles;        /* that a task transforms and multiplies together */
} fc_grid;
fc_grid fc_grid_of(const fc_problem *p, const fc_winograd *tile, int64_t most_tiles);

/* A tile's place: its first output, and the outputs inside the image. */
typedef struct fc_place {
    int64_t image, y, x;
    int64_t rows, columns;
} fc_place;
fc_place fc_place_of(const fc_problem *p, const fc_grid *g, int64_t tile);

/* The place after this one. */
fc_place fc_next_place(const fc_problem *p, const fc_grid *g, fc_place at);

/* Pixels of a segment, which is the input of some tiles of one row, at most. */
int64_t fc_segment_pixels(const fc_problem *p, const fc_grid *g);

#endif
