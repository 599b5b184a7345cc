/* The method that serves every convolution: an implicit matrix product of input windows and packed filters. */
#ifndef FC_IMPLICIT_GEMM_H
#define FC_IMPLICIT_GEMM_H

#include "strip.h"

extern const fc_method fc_implicit_gemm;

/* A call of any method becomes one of direct sums, of small regions of one panel's channels at most: fc_direct_sums. */
void fc_direct_split(fc_forward *call, int64_t rows, int64_t columns);

/* The sums of a region, [pixel][channel], before the epilogue; in the call's floating-point mode. */
void fc_direct_sums(const fc_forward *call, const fc_region *region, void *scratch, void *sums);

#endif
