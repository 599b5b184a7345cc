/* Arithmetic of sizes that several files need. */
#ifndef FC_BASE_ARITH_H
#define FC_BASE_ARITH_H

#include <stdint.h>

static inline int64_t fc_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t fc_max(int64_t a, int64_t b) { return a > b ? a : b; }

/* a / b, rounded up; for positive b. */
static inline int64_t fc_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Where range `index` begins, if `total` is split into so many nearly equal ranges. */
static inline int64_t fc_split_start(int64_t total, int64_t ranges, int64_t index) { return total * index / ranges; }

enum { FC_LINE_BYTES = 64 /* of a cache line */ };

/* Bytes, rounded up to whole cache lines. */
static inline int64_t fc_round_up(int64_t bytes) { return fc_ceil_div(bytes, FC_LINE_BYTES) * FC_LINE_BYTES; }

#endif
