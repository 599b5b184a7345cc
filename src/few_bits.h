/* Whether numbers have so few bits that direct sums of their products are exact, as those of counts, labels and bit
 * planes are: then Winograd's transforms, which are not exact, should not take them. */
#ifndef FC_FEW_BITS_H
#define FC_FEW_BITS_H

#include "kernels.h"

enum { FC_EXACT_BITS = 24 /* of a float: products of factors with so many bits together are exact */ };

/* The numbers seen so far are multiples of 2^lowest and less than 2^(highest + 1); zeros do not count. */
typedef struct fc_bits {
    int lowest, highest;
} fc_bits;

static const fc_bits fc_no_bits = {1 << 20, -(1 << 20)};

/* How many bits hold all of them; 0 of none. */
static inline int fc_bit_count(fc_bits bits) { return bits.highest < bits.lowest ? 0 : bits.highest - bits.lowest + 1; }

/* Adds an image's numbers to what was seen, until there are more bits than `most`: then 0. Not finite numbers are many
 * bits. */
int fc_add_bits_of_image(const fc_kernels *kernels, const fc_tensor *x, int64_t image, int64_t h, int64_t w, int64_t c,
                         int most, fc_bits *seen);

/* The same for filters. */
int fc_add_bits_of_filters(const fc_kernels *kernels, fc_dtype dtype, const fc_filters *w, const fc_problem *p,
                           int most, fc_bits *seen);

#endif
