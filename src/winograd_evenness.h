/* Whether the tiles of a gradient of filters are even enough for Winograd's minimal filtering.
 *
 * Every tap's sum rounds with the products of other taps in the same tiles. Where some of these are far larger than all
 * of its own, as with an outlier in a corner that the tap never meets, that would spoil it. The largest values of tiles
 * tell, of each input channel beside those of all output gradients, and of each of these beside those of all inputs. */
#ifndef FC_WINOGRAD_EVENNESS_H
#define FC_WINOGRAD_EVENNESS_H

#include "winograd_tiles.h"

/* The factors of the products. */
enum { FC_INPUT, FC_OUTPUT };

/* Exponents of the largest finite values of both. */
typedef struct fc_exponents {
    uint8_t *channels[2]; /* [tile][channel], which who transforms the tiles sets; */
    uint8_t *tiles[2];    /* room for those of a tile's channels, */
    uint8_t *pixels[2];   /* and of a pixel's */
} fc_exponents;

int64_t fc_exponents_size(const fc_forward *forward);
fc_exponents fc_place_exponents(const fc_forward *forward, uint8_t *memory);

/* Of x and y, which stands for the output's gradient. */
int fc_is_even(const fc_forward *forward, const fc_exponents *exponents);

#endif
