/* The packed layouts, and every copy between them and the caller's tensors. */
#include "pack.h"
#include "sizes.h"
#include <string.h>

enum { BLOCK = 16 /* pixels and channels of one step of a transposition: 16 lines in, 16 out */ };

int fc_is_half(fc_dtype dtype) { return dtype == FC_F16 || dtype == FC_BF16; }

int fc_dtype_size(fc_dtype dtype) { return dtype == FC_F64 ? 8 : fc_is_half(dtype) ? 2 : 4; }

const fc_gemm *fc_arithmetic(const fc_kernels *kernels, fc_dtype dtype) {
    return dtype == FC_F64 ? &kernels->f64 : dtype == FC_I32 ? &kernels->i32 : &kernels->f32;
}

static void copy_2(const uint16_t *from, int64_t from_row, int64_t from_column, int64_t rows, int64_t columns,
                   uint16_t *to, int64_t to_row, int64_t to_column) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) to[r * to_row + c * to_column] = from[r * from_row + c * from_column];
}

static void copy_4(const uint32_t *from, int64_t from_row, int64_t from_column, int64_t rows, int64_t columns,
                   uint32_t *to, int64_t to_row, int64_t to_column) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) to[r * to_row + c * to_column] = from[r * from_row + c * from_column];
}

/* Colour images, between pixels and planes. */
static void copy_4_by_3(const uint32_t *from, int64_t from_row, int64_t from_column, int64_t rows, uint32_t *to,
                        int64_t to_row, int64_t to_column) {
    for (int64_t r = 0; r < rows; r++, from += from_row, to += to_row) {
        const uint32_t a = from[0], b = from[from_column], c = from[2 * from_column];
        to[0] = a;
        to[to_column] = b;
        to[2 * to_column] = c;
    }
}

static void copy_8(const uint64_t *from, int64_t from_row, int64_t from_column, int64_t rows, int64_t columns,
                   uint64_t *to, int64_t to_row, int64_t to_column) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) to[r * to_row + c * to_column] = from[r * from_row + c * from_column];
}

/* In blocks that stay in the first cache. */
void fc_copy_matrix(const fc_kernels *kernels, int size, const void *from, int64_t from_row, int64_t from_column,
                    int64_t rows, int64_t columns, void *to, int64_t to_row, int64_t to_column) {
    if (from_column == 1 && to_column == 1 && columns >= BLOCK) {
        for (int64_t r = 0; r < rows; r++)
            memcpy((char *)to + r * to_row * size, (const char *)from + r * from_row * size, (size_t)(columns * size));
        return;
    }
    const int worth_it = size == 4 && rows >= 4 && columns >= 4;
    if (worth_it && from_column == 1 && to_row == 1) {
        kernels->transpose_4(from, from_row, rows, columns, to, to_column);
        return;
    }
    if (worth_it && from_row == 1 && to_column == 1) {
        kernels->transpose_4(from, from_column, columns, rows, to, to_row);
        return;
    }
    if (size == 4 && columns == 3) {
        copy_4_by_3(from, from_row, from_column, rows, to, to_row, to_column);
        return;
    }
    for (int64_t c = 0; c < columns; c += BLOCK) {
        for (int64_t r = 0; r < rows; r += BLOCK) {
            const char *a = (const char *)from + (r * from_row + c * from_column) * size;
            char *b = (char *)to + (r * to_row + c * to_column) * size;
            const int64_t high = fc_least(BLOCK, rows - r), wide = fc_least(BLOCK, columns - c);
            if (size == 2)
                copy_2((const void *)a, from_row, from_column, high, wide, (void *)b, to_row, to_column);
            else if (size == 4)
                copy_4((const void *)a, from_row, from_column, high, wide, (void *)b, to_row, to_column);
            else
                copy_8((const void *)a, from_row, from_column, high, wide, (void *)b, to_row, to_column);
        }
    }
}

/* One panel of columns that do not lie side by side. */
static void pack_scattered(const fc_kernels *kernels, fc_dtype dtype, const char *from, int64_t row, int64_t column,
                           int64_t terms, int columns, int width, char *packed) {
    const fc_gemm *gemm = fc_arithmetic(kernels, dtype);
    const int size = fc_dtype_size(dtype);
    if (size == gemm->size) {
        if (columns < width) memset(packed, 0, (size_t)(terms * width * size));
        fc_copy_matrix(kernels, size, from, row, column, terms, columns, packed, width, 1);
        return;
    }
    uint16_t dense[BLOCK * 4 * BLOCK];
    const int64_t most = BLOCK * 4 * BLOCK / columns;
    for (int64_t k = 0; k < terms; k += most) {
        const int64_t count = fc_least(most, terms - k);
        fc_copy_matrix(kernels, size, from + k * row * size, row, column, count, columns, dense, columns, 1);
        fc_pack_panels(kernels, dtype, dense, columns, 1, count, columns, width, packed + k * width * gemm->size, 0);
    }
}

void fc_pack_panels(const fc_kernels *kernels, fc_dtype dtype, const void *from, int64_t row, int64_t column,
                    int64_t terms, int64_t columns, int width, void *packed, int64_t panel) {
    const fc_gemm *gemm = fc_arithmetic(kernels, dtype);
    if (column == 1 || columns == 1) {
        fc_pack_fn *pack = dtype == FC_F16 ? kernels->pack_f16 : dtype == FC_BF16 ? kernels->pack_bf16 : gemm->pack;
        pack(from, row, terms, columns, width, packed, panel);
        return;
    }
    const char *at = from;
    char *to = packed;
    for (int64_t f = 0; f < columns; f += width, to += panel * gemm->size, at += width * column * fc_dtype_size(dtype))
        pack_scattered(kernels, dtype, at, row, column, terms, (int)fc_least(width, columns - f), width, to);
}

void fc_stage_pixels(const fc_kernels *kernels, fc_dtype dtype, const void *from, int64_t stride_w, int64_t stride_c,
                     int64_t pixels, int64_t channels, void *to, int64_t pitch) {
    const int size = fc_dtype_size(dtype);
    const char *source = from;
    if (channels == 1) stride_c = 1;
    if (stride_c == 1 && stride_w == channels && pitch == channels) { /* dense: one long pixel */
        channels *= pixels;
        pixels = 1;
    }
    if (!fc_is_half(dtype)) {
        fc_copy_matrix(kernels, size, source, stride_w, stride_c, pixels, channels, to, pitch, 1);
        return;
    }
    fc_convert_fn *widen = dtype == FC_F16 ? kernels->f16_to_f32 : kernels->bf16_to_f32;
    for (int64_t p = 0; p < pixels; p++) {
        const uint16_t *pixel = (const uint16_t *)from + p * stride_w;
        float *wide = (float *)to + p * pitch;
        if (stride_c == 1) {
            widen(pixel, wide, channels);
            continue;
        }
        uint16_t dense[8 * BLOCK];
        for (int64_t c = 0; c < channels; c += 8 * BLOCK) {
            const int64_t count = fc_least(8 * BLOCK, channels - c);
            copy_2(pixel + c * stride_c, 0, stride_c, 1, count, dense, 0, 1);
            widen(dense, wide + c, count);
        }
    }
}

void fc_store_pixels(const fc_kernels *kernels, fc_dtype dtype, const void *sums, int64_t pixels, int64_t channels,
                     void *to, int64_t stride_w, int64_t stride_c) {
    const int size = fc_dtype_size(dtype);
    if (channels == 1) stride_c = 1;
    if (stride_c == 1 && stride_w == channels) { /* dense: one long pixel */
        channels *= pixels;
        pixels = 1;
    }
    if (!fc_is_half(dtype)) {
        fc_copy_matrix(kernels, size, sums, channels, 1, pixels, channels, to, stride_w, stride_c);
        return;
    }
    fc_convert_fn *narrow = dtype == FC_F16 ? kernels->f32_to_f16 : kernels->f32_to_bf16;
    for (int64_t p = 0; p < pixels; p++) {
        const float *pixel = (const float *)sums + p * channels;
        uint16_t *half = (uint16_t *)to + p * stride_w;
        if (stride_c == 1) {
            narrow(pixel, half, channels);
            continue;
        }
        uint16_t dense[8 * BLOCK];
        for (int64_t c = 0; c < channels; c += 8 * BLOCK) {
            const int64_t count = fc_least(8 * BLOCK, channels - c);
            narrow(pixel + c, dense, count);
            copy_2(dense, 0, 1, 1, count, half + c * stride_c, 0, stride_c);
        }
    }
}
