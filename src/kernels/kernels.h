/* The kernels of one instruction set, and what tunes the methods that call them. */
#ifndef FC_KERNELS_KERNELS_H
#define FC_KERNELS_KERNELS_H

#include "base/dtype.h"
#include "isa/tuning.h"
#include "kernels/copy.h"
#include "kernels/depthwise.h"
#include "kernels/epilogue.h"
#include "kernels/gemm.h"
#include "kernels/layers.h"
#include "kernels/spatial.h"
#include "kernels/winograd.h"

/* The kernels of one arithmetic type. */
typedef struct fc_arithmetic {
    int mr;                   /* most rows of a register tile */
    int nr;                   /* most columns of one, and of a panel of filters: two vectors */
    int lanes;                /* elements of a vector */
    int size;                 /* bytes of an element */
    fc_gemm_fn *const *tile1; /* tile1[rows - 1]: register tiles of one vector of columns */
    fc_gemm_fn *const *tile2; /* tile2[rows - 1]: of two */
    fc_add_taps_fn *add_taps;
    fc_add_sums_fn *add_sums;
    fc_add_compensated_fn *add_compensated;
    fc_spatial_rows_fn *spatial_rows;
    fc_spatial_gradient_fn *spatial_gradient;
    fc_depthwise_fn *depthwise;
    fc_depthwise_gradient_fn *depthwise_gradient;
    fc_epilogue_fn *epilogue;
    fc_pool_fn *pool, *pool_gradient; /* null for integers, as are the next two */
    fc_normalize_fn *normalize;
    fc_activation_grad_fn *activation_grad;
} fc_arithmetic;

/* How elements of one dtype become elements of its accumulator's type, and back. */
typedef struct fc_conversion {
    fc_pack_fn *pack;              /* packs filters, converted */
    fc_convert_fn *widen, *narrow; /* null where the types are the same */
} fc_conversion;

typedef struct fc_kernels {
    const char *name;
    int fused;        /* 1 where multiply-adds round once */
    fc_tuning tuning; /* sizes that change the speed of a result, and never its bits */
    fc_arithmetic f32, f64, i32;
    fc_conversion conversions[FC_DTYPES];
    fc_winograd_kernels winograd;
    fc_transpose_fn *transpose_4;
    fc_repeat_fn *repeat_4;
} fc_kernels;

/* The kernels of the type in which sums of this dtype are formed. */
/* The register tiles for so many columns, at most two vectors: that of 1, 2, ... rows. */
static inline fc_gemm_fn *const *fc_tiles_of(const fc_arithmetic *gemm, int columns) {
    return columns > gemm->lanes ? gemm->tile2 : gemm->tile1;
}

static inline const fc_arithmetic *fc_arithmetic_of(const fc_kernels *kernels, fc_dtype dtype) {
    const fc_dtype type = fc_accumulator(dtype);
    return type == FC_F64 ? &kernels->f64 : type == FC_I32 ? &kernels->i32 : &kernels->f32;
}

/* Columns of the whole vectors, 1 or 2, that hold so many columns of a panel. */
static inline int fc_vector_columns(const fc_arithmetic *arithmetic, int64_t columns) {
    return columns > arithmetic->lanes ? arithmetic->nr : arithmetic->lanes;
}

/* dispatch.c: the instruction sets in this build, best first, and whether this CPU has them. */
int fc_kernels_count(void);
const fc_kernels *fc_kernels_built(int index);
int fc_kernels_supported(int index);

#endif
