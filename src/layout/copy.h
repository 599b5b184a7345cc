/* Every copy between the caller's tensors and the layouts that kernels read and write. */
#ifndef FC_LAYOUT_COPY_H
#define FC_LAYOUT_COPY_H

#include "base/problem.h"
#include "kernels/kernels.h"

/* A matrix of elements in any layout; the steps to the next row and column count elements. */
typedef struct fc_matrix {
    void *data; /* not written to where the matrix is a source */
    int64_t rows, columns;
    int64_t row, column;
} fc_matrix;

static inline fc_matrix fc_matrix_of(const void *data, int64_t rows, int64_t columns, int64_t row, int64_t column) {
    return (fc_matrix){(void *)data, rows, columns, row, column};
}

/* Copies a matrix of elements of `size` bytes to another of the same rows and columns. */
void fc_copy_matrix(const fc_kernels *kernels, int size, const fc_matrix *from, const fc_matrix *to);

/* Packs filters of this dtype, of as many terms as the matrix has rows, into panels of `width` columns (one or two
 * vectors), `panel` elements apart: [panel][term][width] of the accumulator's type. Columns that the last panel has
 * beyond the matrix become zeros. */
void fc_pack_panels(const fc_kernels *kernels, fc_dtype dtype, const fc_matrix *from, int width, void *packed,
                    int64_t panel);

/* Copies pixels of this dtype, rows of channels, to dense channels of the accumulator's type, `pitch` elements from
 * pixel to pixel. */
void fc_stage_pixels(const fc_kernels *kernels, fc_dtype dtype, const fc_matrix *from, void *to, int64_t pitch);

/* The same with each channel `times` times, side by side, and without a gap between pixels. */
void fc_stage_repeated(const fc_kernels *kernels, fc_dtype dtype, const fc_matrix *from, int64_t times, void *to);

/* The way back: copies dense sums, [pixel][channel] of the accumulator's type, to pixels of this dtype. */
void fc_store_pixels(const fc_kernels *kernels, fc_dtype dtype, const void *sums, const fc_matrix *to);

#endif
