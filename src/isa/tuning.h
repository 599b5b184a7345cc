/* Each instruction set's register tile, and the record of what else tunes its speed (tuning.inc).
 *
 * No size here or there can change a bit of a result. What fixes bits stands elsewhere, and is the same for every
 * instruction set: blocks of sums in fastconv/_cpu/summation.py, Winograd's tiles in winograd.py beside it, and
 * FC_SPATIAL_LANES in kernels/spatial.h. */
#ifndef FC_ISA_TUNING_H
#define FC_ISA_TUNING_H

/* Register tiles. The kernels are compiled for these, by the instruction set that FC_ISA names there.
 *
 * generic: 4 x 2 sums; more would not fit the 16 registers of x86-64-v2 at 2 registers a vector.
 * avx2: 6 x 2 sums, 2 filter vectors and 1 input take 15 of the 16 registers.
 * avx512: 14 x 2 sums, 2 filter vectors and 1 input take 31 of the 32 registers.
 * neon: 12 x 2 sums, 2 filter vectors and 1 input take 27 of the 32 registers; not measured: no such CPU at hand. */
/* clang-format off */
/*                                   generic  avx2  avx512  neon */
#define FC_MR               FC_TUNED(4,       6,    14,     12) /* rows of a register tile: its pixels */
#define FC_HALVED_MR        FC_TUNED(2,       3,    7,      6)  /* where each output has two sums */
#define FC_DEPTHWISE_SUMS   FC_TUNED(2,       4,    4,      4)  /* outputs at a time, beside 9 filter taps */

/* clang-format on */

#define FC_TUNED(generic, avx2, avx512, neon) FC_JOIN(FC_COLUMN, FC_ISA)(generic, avx2, avx512, neon)
#define FC_COLUMN_generic(generic, avx2, avx512, neon) generic
#define FC_COLUMN_generic_fma(generic, avx2, avx512, neon) generic
#define FC_COLUMN_avx2(generic, avx2, avx512, neon) avx2
#define FC_COLUMN_avx512(generic, avx2, avx512, neon) avx512
#define FC_COLUMN_neon(generic, avx2, avx512, neon) neon

enum {
    FC_MOST_MR = 16, /* no instruction set has a larger MR */
    FC_TASKS = 4     /* tasks for each thread, for all to end together though one is interrupted */
};

#define FC_TUNE(name, generic, avx2, avx512, neon) int name;
typedef struct fc_tuning {
#include "isa/tuning.inc"
} fc_tuning;
#undef FC_TUNE

#endif
