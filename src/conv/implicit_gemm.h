/* The method that serves every convolution: an implicit matrix product of input windows and packed filters. */
#ifndef FC_CONV_IMPLICIT_GEMM_H
#define FC_CONV_IMPLICIT_GEMM_H

#include "conv/method.h"

extern const fc_method fc_implicit_gemm_method;

/* How a call of another method has small regions, of one panel's channels at most, summed directly; sets the scratch
 * bytes that this takes. */
fc_implicit_gemm_split fc_direct_split(const fc_forward *call, int64_t rows, int64_t columns, int64_t *scratch_bytes);

/* The sums of such a region, [pixel][channel], before the epilogue; in the call's floating-point mode. */
void fc_direct_sums(const fc_forward *call, const fc_implicit_gemm_split *split, const fc_region *region, void *scratch,
                    void *sums);

#endif
