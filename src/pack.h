/* Moving tensor data between the caller's layouts and the ones that kernels read and write. */
#ifndef FC_PACK_H
#define FC_PACK_H

#include "kernels.h"

/* The type in which sums of this dtype are formed, and that type's kernels. */
const fc_gemm *fc_arithmetic(const fc_kernels *kernels, fc_dtype dtype);
int fc_dtype_size(fc_dtype dtype);
int fc_is_half(fc_dtype dtype);

/* Packs a matrix of this dtype, of `terms` rows at any strides (in elements), into panels of one or two vectors,
 * `panel` elements apart: [panel][term][width] of the arithmetic type, with zeros in columns that the last has more. */
void fc_pack_panels(const fc_kernels *kernels, fc_dtype dtype, const void *from, int64_t row, int64_t column,
                    int64_t terms, int64_t columns, int width, void *packed, int64_t panel);

/* Copies `pixels` pixels of `channels` channels, of this dtype and any strides (in elements), to dense channels of the
 * arithmetic type, `pitch` elements from pixel to pixel. */
void fc_stage_pixels(const fc_kernels *kernels, fc_dtype dtype, const void *from, int64_t stride_w, int64_t stride_c,
                     int64_t pixels, int64_t channels, void *to, int64_t pitch);

/* The way back: `channels` dense sums for each of `pixels` pixels, to elements of this dtype at any strides. */
void fc_store_pixels(const fc_kernels *kernels, fc_dtype dtype, const void *sums, int64_t pixels, int64_t channels,
                     void *to, int64_t stride_w, int64_t stride_c);

/* Copies a matrix of elements of `size` bytes between any two layouts; strides count elements. */
void fc_copy_matrix(const fc_kernels *kernels, int size, const void *from, int64_t from_row, int64_t from_column,
                    int64_t rows, int64_t columns, void *to, int64_t to_row, int64_t to_column);

#endif
