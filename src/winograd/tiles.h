/* The transforms of the input's tiles for Winograd's minimal filtering, for all sub-kernels. */
#ifndef FC_WINOGRAD_TILES_H
#define FC_WINOGRAD_TILES_H

#include "base/axis.h"
#include "winograd/outliers.h"

/* The input whose tiles are transformed: of the channels that the problem has, from x's first on. */
typedef struct fc_tile_input {
    const fc_kernels *kernels;
    const fc_problem *problem;
    const fc_grid *grid;
    fc_tensor x;
    int64_t block;                       /* channels of a block of sums */
    int x_in_place;                      /* 1: pixels are read in place */
    const fc_filter_magnitudes *filters; /* what is known of the filters; null: tiles are not checked for outliers */
} fc_tile_input;

/* Where transforming tiles puts what. */
typedef struct fc_tile_transform {
    const char *zeros;       /* a pixel of zeros */
    char *patch;             /* room for a segment's pixels, unless they are read in place */
    float *magnitudes;       /* room for a number for each of these, if tiles are checked */
    float *tiles;            /* [sub-kernel][block][cell][tile][channel of the block] */
    char *outliers;          /* [tile]: whether its outputs need direct sums; null: not wanted */
    uint8_t *exponents;      /* [tile][channel]: of the largest values; null: not wanted */
    int64_t exponents_pitch; /* from tile to tile */
} fc_tile_transform;

/* Raises some channels' exponents to those of their largest finite magnitudes in some cells. */
void fc_raise_exponents(const fc_kernels *kernels, const void *const *cells, int64_t count, int64_t channels,
                        uint8_t *exponents);

/* Transforms some tiles. */
void fc_transform_tiles(const fc_tile_input *in, fc_range tiles, const fc_tile_transform *to);

#endif
