/* Arithmetic of sizes that several files need. */
#ifndef FC_SIZES_H
#define FC_SIZES_H

#include <stdint.h>

static inline int64_t fc_least(int64_t a, int64_t b) { return a < b ? a : b; }

/* How many parts of at most `most` make up `total`. */
static inline int64_t fc_parts(int64_t total, int64_t most) { return (total + most - 1) / most; }

/* Where part `index` of so many nearly equal parts of `total` begins. */
static inline int64_t fc_part_start(int64_t total, int64_t parts, int64_t index) { return total * index / parts; }

/* Rounded up to whole cache lines. */
static inline int64_t fc_aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

#endif
