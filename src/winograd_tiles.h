/* The transforms of the input's tiles for Winograd's minimal filtering, for all pieces of the filter. */
#ifndef FC_WINOGRAD_TILES_H
#define FC_WINOGRAD_TILES_H

#include "winograd_grid.h"

/* What transforming tiles takes and gives. */
typedef struct fc_spread {
    const char *zeros;       /* a pixel's */
    char *patch;             /* room for a segment's pixels, unless the call's windows are read in place */
    float *magnitudes;       /* and for a number for each; null: tiles are not weighed */
    float *tiles;            /* [piece][block][cell][tile][channel of the block] */
    char *uneven;            /* [tile]: whether its outputs need direct sums; null: not wanted */
    uint8_t *exponents;      /* [tile][channel]: of the largest values; null: not wanted */
    int64_t exponents_pitch; /* from tile to tile */
} fc_spread;

/* Raises some channels' exponents to those of their largest finite magnitudes in some cells. */
void fc_raise_exponents(const fc_kernels *kernels, const void *const *cells, int64_t count, int64_t channels,
                        uint8_t *exponents);

/* Transforms the tiles from `first` on. */
void fc_spread_tiles(const fc_forward *call, const fc_grid *g, int64_t first, int64_t end, const fc_spread *to);

#endif
