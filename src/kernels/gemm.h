/* The contract of the matrix micro-kernel (gemm.inc), and of what packs its filters and adds its sums (pack.inc,
 * taps.inc). */
#ifndef FC_KERNELS_GEMM_H
#define FC_KERNELS_GEMM_H

#include <stdint.h>

/* A batch-reduce matrix product for some register tiles, one below the other. Each tile has rows x columns outputs.
 *
 * An output sums batch_size runs of k terms, in order. The sum is cut into blocks: block_runs whole runs or, where
 * chunk is less than k, chunk terms of one run. Without any terms, an output is one block of +0. */
typedef struct fc_tiles {
    int64_t count;            /* tiles */
    const void *const *batch; /* the indirection buffer: batch[(tile * batch_size + run) * rows + row] is where the
                                 run's first term for this row of the tile lies */
    int64_t batch_size, k;
    int64_t block_runs, chunk;
    int64_t step;        /* elements from a row's term to its next */
    const void *filters; /* [term][column]: the kernel reads the fewest whole vectors, 1 or 2, that hold the columns */
    int64_t filters_stride; /* elements from term to term */
    int64_t filters_skip;   /* elements passed over after a run; 0 where runs are cut into chunks */
    void *sums;             /* the first tile's first output; rows are sums_stride elements apart */
    int64_t sums_stride;
    int columns;
    int accumulate; /* 1: add to the sums that are there */

    /* Memory that the caller will read next. With each term the kernel prefetches one line, prefetch_step bytes after
     * the line before; the first prefetch_tiles tiles do so, each prefetch_jump bytes after the tile before. */
    const char *prefetch;
    int64_t prefetch_step, prefetch_jump, prefetch_tiles;
} fc_tiles;
typedef void fc_gemm_fn(const fc_tiles *tiles);

/* Packs `terms` rows of filters, each `columns` wide and `stride` elements apart, into panels of `width` columns, whole
 * vectors, `panel` elements apart: [panel][term][width]. Columns that the last panel has beyond the filters' become
 * zeros. */
typedef void fc_pack_fn(const void *filters, int64_t stride, int64_t terms, int64_t columns, int width, void *packed,
                        int64_t panel);

/* Adds the products of `taps` taps, in order, to the `channels` sums of each of `count` pixels. A pixel's first product
 * lies `pixel` elements after that of the pixel before, and a tap's pixel + channels after that of the tap before. */
typedef void fc_add_taps_fn(const void *products, int64_t pixel, int taps, int channels, int64_t count, void *sums);

/* Adds `count` values to as many sums. */
typedef void fc_add_sums_fn(const void *values, int64_t count, void *sums);

/* Does the same, and adds what rounding took from each sum to its entry in `rests`, where that is finite. */
typedef void fc_add_compensated_fn(const void *values, int64_t count, void *sums, void *rests);

#endif
