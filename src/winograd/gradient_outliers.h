/* The outlier check of a gradient of filters by Winograd's minimal filtering.
 *
 * Every tap's sum rounds with the products of other taps in the same tiles. Where some of these are far larger than all
 * of its own, as with an outlier in a corner that the tap never meets, that would spoil it. The largest values of tiles
 * tell: those of each input channel beside those of all output gradients, and those of each of these beside those of
 * all inputs.
 */
#ifndef FC_WINOGRAD_GRADIENT_OUTLIERS_H
#define FC_WINOGRAD_GRADIENT_OUTLIERS_H

#include "conv/filter_method.h"
#include "winograd/tiles.h"

/* The factors of the products. */
enum { FC_INPUT, FC_OUTPUT };

/* Exponents of the largest finite values of both factors. */
typedef struct fc_exponents {
    uint8_t *channels[2]; /* [tile][channel]; set by the task that transforms the tile */
    uint8_t *tiles[2];    /* room for those of all channels of a tile */
    uint8_t *pixels[2];   /* room for those of a pixel */
} fc_exponents;

int64_t fc_exponents_size(const fc_backprop_filter *call);
fc_exponents fc_place_exponents(const fc_backprop_filter *call, uint8_t *memory);

/* Whether some tap's sum may be spoiled. */
int fc_gradient_has_outliers(const fc_backprop_filter *call, const fc_exponents *exponents);

#endif
