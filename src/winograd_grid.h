/* The grid of tiles of Winograd's minimal filtering: where they lie in the images, and how they are laid out. */
#ifndef FC_WINOGRAD_GRID_H
#define FC_WINOGRAD_GRID_H

#include "sizes.h"
#include "winograd_filters.h"

enum {
    FC_TILE_OUTPUTS = 4,                       /* along an axis, at most, */
    FC_REACH = FC_WIDEST + FC_TILE_OUTPUTS - 1 /* and pixels that their windows cover */
};

/* Planes of cells begin an odd number of lines apart, so that the cells of a tile do not share a set of the first
 * cache. */
static inline int64_t fc_odd_lines(int64_t elements) { return (fc_parts(elements, FC_LINE) | 1) * FC_LINE; }

/* How the images and a range of their tiles are laid out; sizes and steps count elements. */
typedef struct fc_grid {
    int64_t m_rows, m_columns, rows, columns, cells; /* outputs and cells of a tile */
    int64_t reach_rows, reach_columns;               /* pixels that its outputs' windows cover */
    fc_pieces pieces;
    int64_t high, wide, tiles; /* tiles of an image, and of all */
    int64_t pitch;             /* of pixels of all channels */
    int64_t blocks, depth;     /* of the channels of a piece; transformed channels of all pieces, whole blocks */
    int64_t plane, block;      /* of transformed tiles */
    int64_t products_plane;
    int rung; /* index of the transforms */
} fc_grid;
fc_grid fc_grid_of(const fc_forward *call);

/* A tile's place. */
typedef struct fc_place {
    int64_t image, y, x;   /* its first output */
    int64_t rows, columns; /* outputs inside the image */
} fc_place;
fc_place fc_place_of(const fc_forward *call, const fc_grid *g, int64_t tile);

/* Pixels of a segment, the input of some tiles of one row, at most. */
int64_t fc_segment_pixels(const fc_forward *call, const fc_grid *g);

#endif
