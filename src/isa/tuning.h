/* Each instruction set's register tile, and the record of what else tunes its speed (tuning.inc).
 *
 * No size here or there can change a bit of a result. What fixes bits stands elsewhere, and is the same for every
 * instruction set: blocks of sums in fastconv/_cpu/summation.py, Winograd's tiles in winograd.py beside it,
 * FC_SPATIAL_LANES in kernels/spatial.h, the partial sums of kernels/pool.inc and magnitudes.inc, and the limits of
 * winograd/outliers.c and gradient_outliers.c. */
#ifndef FC_ISA_TUNING_H
#define FC_ISA_TUNING_H

/* Register tiles, one line an instruction set. The kernels are compiled for that of the set that FC_ISA names there.
 *
 * mr: rows of a register tile, which are its pixels; its columns are two vectors.
 * halved: the same where each output has two sums.
 * depthwise: sums that a depthwise kernel forms at a time, beside 9 filter taps in registers. */
/* clang-format off */
/*                             mr, halved, depthwise */
#define FC_TILE_generic        4,  2,      2 /* more would not fit 16 registers at 2 registers a vector */
#define FC_TILE_generic_fma    4,  2,      2
#define FC_TILE_avx2           6,  3,      4 /* 6 x 2 sums, 2 filter vectors and 1 input take 15 of 16 registers */
#define FC_TILE_avx512         14, 7,      4 /* 14 x 2 sums, 2 filter vectors and 1 input take 31 of 32 registers */
#define FC_TILE_neon           12, 6,      4 /* 27 of 32 registers; not measured: no such CPU at hand */
/* clang-format on */

#define FC_MR FC_CALL(FC_TILE_MR, FC_JOIN(FC_TILE, FC_ISA))
#define FC_HALVED_MR FC_CALL(FC_TILE_HALVED, FC_JOIN(FC_TILE, FC_ISA))
#define FC_DEPTHWISE_SUMS FC_CALL(FC_TILE_DEPTHWISE, FC_JOIN(FC_TILE, FC_ISA))
#define FC_CALL(macro, ...) macro(__VA_ARGS__)
#define FC_TILE_MR(mr, halved, depthwise) mr
#define FC_TILE_HALVED(mr, halved, depthwise) halved
#define FC_TILE_DEPTHWISE(mr, halved, depthwise) depthwise

/* The column of tuning.inc that each instruction set takes. */
#define FC_COLUMN_generic(generic, ...) generic
#define FC_COLUMN_generic_fma(generic, ...) generic
#define FC_COLUMN_avx2(generic, avx2, ...) avx2
#define FC_COLUMN_avx512(generic, avx2, avx512, ...) avx512
#define FC_COLUMN_neon(generic, avx2, avx512, neon, ...) neon

enum {
    FC_MOST_MR = 16,    /* no instruction set has a larger MR, */
    FC_MOST_LANES = 16, /* nor a vector of more floats */
    FC_TASKS = 4        /* tasks for each thread, for all to end together though one is interrupted */
};

#define FC_TUNE(name, ...) int name;
typedef struct fc_tuning {
#include "isa/tuning.inc"
} fc_tuning;
#undef FC_TUNE

#endif
