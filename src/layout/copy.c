/* Copies of matrices between layouts and dtypes, in blocks that stay in the first cache. */
#include "layout/copy.h"
#include "base/arith.h"
#include <string.h>

enum {
    BLOCK = 16,                     /* rows and columns of a transposition's step: 16 lines in, 16 out */
    DENSE = 8 * BLOCK,              /* elements of a pixel that are laid out densely at a time, to be converted */
    DENSE_PANEL = 4 * BLOCK * BLOCK /* elements of filters that are */
};

static void copy_2(fc_matrix from, fc_matrix to) {
    const uint16_t *a = from.data;
    uint16_t *b = to.data;
    for (int64_t r = 0; r < from.rows; r++)
        for (int64_t c = 0; c < from.columns; c++) b[r * to.row + c * to.column] = a[r * from.row + c * from.column];
}

static void copy_4(fc_matrix from, fc_matrix to) {
    const uint32_t *a = from.data;
    uint32_t *b = to.data;
    for (int64_t r = 0; r < from.rows; r++)
        for (int64_t c = 0; c < from.columns; c++) b[r * to.row + c * to.column] = a[r * from.row + c * from.column];
}

/* Color images, between pixels and planes. */
static void copy_4_by_3(fc_matrix from, fc_matrix to) {
    const uint32_t *a = from.data;
    uint32_t *b = to.data;
    for (int64_t r = 0; r < from.rows; r++, a += from.row, b += to.row) {
        const uint32_t red = a[0], green = a[from.column], blue = a[2 * from.column];
        b[0] = red;
        b[to.column] = green;
        b[2 * to.column] = blue;
    }
}

static void copy_8(fc_matrix from, fc_matrix to) {
    const uint64_t *a = from.data;
    uint64_t *b = to.data;
    for (int64_t r = 0; r < from.rows; r++)
        for (int64_t c = 0; c < from.columns; c++) b[r * to.row + c * to.column] = a[r * from.row + c * from.column];
}

/* A part of a matrix. */
static fc_matrix part_of(const fc_matrix *all, int size, int64_t row, int64_t column, int64_t rows, int64_t columns) {
    return fc_matrix_of((const char *)all->data + (row * all->row + column * all->column) * size, rows, columns,
                        all->row, all->column);
}

/* The same matrix with its rows and columns exchanged. */
static fc_matrix exchanged(const fc_matrix *m) { return fc_matrix_of(m->data, m->columns, m->rows, m->column, m->row); }

void fc_copy_matrix(const fc_kernels *kernels, int size, const fc_matrix *from, const fc_matrix *to) {
    const int64_t rows = from->rows, columns = from->columns;
    if (size == 4 && rows * columns < BLOCK) {
        copy_4(*from, *to);
        return;
    }
    if (from->column == 1 && to->column == 1 && columns >= BLOCK) {
        const char *a = from->data;
        char *b = to->data;
        for (int64_t r = 0; r < rows; r++)
            memcpy(b + r * to->row * size, a + r * from->row * size, (size_t)(columns * size));
        return;
    }
    const int transposes = size == 4 && rows >= 4 && columns >= 4;
    if (transposes && from->column == 1 && to->row == 1) {
        kernels->transpose_4(from->data, from->row, rows, columns, to->data, to->column);
        return;
    }
    if (transposes && from->row == 1 && to->column == 1) {
        kernels->transpose_4(from->data, from->column, columns, rows, to->data, to->row);
        return;
    }
    if (size == 4 && columns == 3) {
        copy_4_by_3(*from, *to);
        return;
    }
    if (size == 4 && rows == 3) {
        copy_4_by_3(exchanged(from), exchanged(to));
        return;
    }
    for (int64_t c = 0; c < columns; c += BLOCK)
        for (int64_t r = 0; r < rows; r += BLOCK) {
            const int64_t high = fc_min(BLOCK, rows - r), wide = fc_min(BLOCK, columns - c);
            const fc_matrix a = part_of(from, size, r, c, high, wide), b = part_of(to, size, r, c, high, wide);
            if (size == 2)
                copy_2(a, b);
            else if (size == 4)
                copy_4(a, b);
            else
                copy_8(a, b);
        }
}

/* Packs one panel of columns that do not lie side by side. */
static void pack_scattered(const fc_kernels *kernels, fc_dtype dtype, const fc_matrix *from, int width, char *packed) {
    const int size = fc_dtype_size(dtype), packed_size = fc_arithmetic_of(kernels, dtype)->size;
    const int64_t terms = from->rows, columns = from->columns;
    if (!fc_is_converted(dtype)) {
        const fc_matrix to = fc_matrix_of(packed, terms, columns, width, 1);
        if (columns < width) memset(packed, 0, (size_t)(terms * width * size));
        fc_copy_matrix(kernels, size, from, &to);
        return;
    }
    uint16_t dense[DENSE_PANEL];
    const int64_t most = DENSE_PANEL / columns;
    for (int64_t k = 0; k < terms; k += most) {
        const int64_t count = fc_min(most, terms - k);
        const fc_matrix some = part_of(from, size, k, 0, count, columns);
        const fc_matrix laid_out = fc_matrix_of(dense, count, columns, columns, 1);
        fc_copy_matrix(kernels, size, &some, &laid_out);
        fc_pack_panels(kernels, dtype, &laid_out, width, packed + k * width * packed_size, 0);
    }
}

void fc_pack_panels(const fc_kernels *kernels, fc_dtype dtype, const fc_matrix *from, int width, void *packed,
                    int64_t panel) {
    if (from->column == 1 || from->columns == 1) {
        kernels->conversions[dtype].pack(from->data, from->row, from->rows, from->columns, width, packed, panel);
        return;
    }
    char *to = packed;
    for (int64_t f = 0; f < from->columns; f += width, to += panel * fc_arithmetic_of(kernels, dtype)->size) {
        const fc_matrix one = part_of(from, fc_dtype_size(dtype), 0, f, from->rows, fc_min(width, from->columns - f));
        pack_scattered(kernels, dtype, &one, width, to);
    }
}

/* Pixels as a matrix that is as simple as can be: dense ones are a single row. Its fields are read one by one: a copy
 * of the whole struct would wait until they, which have just been written one by one, have left the store buffer. */
static fc_matrix simplified(const fc_matrix *m, int64_t other_pitch) {
    const int64_t rows = m->rows, columns = m->columns, row = m->row, column = columns == 1 ? 1 : m->column;
    const int dense = column == 1 && row == columns && other_pitch == columns;
    return fc_matrix_of(m->data, dense ? 1 : rows, dense ? rows * columns : columns, row, column);
}

void fc_stage_pixels(const fc_kernels *kernels, fc_dtype dtype, const fc_matrix *pixels, void *to, int64_t pitch) {
    const fc_matrix from = simplified(pixels, pitch);
    if (!fc_is_converted(dtype)) {
        const fc_matrix staged = fc_matrix_of(to, from.rows, from.columns, pitch, 1);
        fc_copy_matrix(kernels, fc_dtype_size(dtype), &from, &staged);
        return;
    }
    fc_convert_fn *const widen = kernels->conversions[dtype].widen;
    for (int64_t p = 0; p < from.rows; p++) {
        const uint16_t *pixel = (const uint16_t *)from.data + p * from.row;
        float *wide = (float *)to + p * pitch;
        if (from.column == 1) {
            widen(pixel, wide, from.columns);
            continue;
        }
        uint16_t dense[DENSE];
        for (int64_t c = 0; c < from.columns; c += DENSE) {
            const int64_t count = fc_min(DENSE, from.columns - c);
            for (int64_t i = 0; i < count; i++) dense[i] = pixel[(c + i) * from.column];
            widen(dense, wide + c, count);
        }
    }
}

static void repeat_4(uint32_t *elements, int64_t count, int64_t times) {
    for (int64_t i = count - 1; i >= 0; i--) {
        const uint32_t element = elements[i];
        for (int64_t t = times - 1; t >= 0; t--) elements[i * times + t] = element;
    }
}

static void repeat_8(uint64_t *elements, int64_t count, int64_t times) {
    for (int64_t i = count - 1; i >= 0; i--) {
        const uint64_t element = elements[i];
        for (int64_t t = times - 1; t >= 0; t--) elements[i * times + t] = element;
    }
}

void fc_stage_repeated(const fc_kernels *kernels, fc_dtype dtype, const fc_matrix *from, int64_t times, void *to) {
    const int64_t size = fc_arithmetic_of(kernels, dtype)->size;
    fc_stage_pixels(kernels, dtype, from, to, from->columns * times);
    char *pixel = to;
    for (int64_t i = 0; i < from->rows && times > 1; i++, pixel += from->columns * times * size)
        if (size == 4) /* from the end, so that the copies may begin where the elements do */
            repeat_4((uint32_t *)pixel, from->columns, times);
        else
            repeat_8((uint64_t *)pixel, from->columns, times);
}

void fc_store_pixels(const fc_kernels *kernels, fc_dtype dtype, const void *sums, const fc_matrix *pixels) {
    const fc_matrix to = simplified(pixels, pixels->columns);
    if (!fc_is_converted(dtype)) {
        const fc_matrix from = fc_matrix_of(sums, to.rows, to.columns, to.columns, 1);
        fc_copy_matrix(kernels, fc_dtype_size(dtype), &from, &to);
        return;
    }
    fc_convert_fn *const narrow = kernels->conversions[dtype].narrow;
    for (int64_t p = 0; p < to.rows; p++) {
        const float *pixel = (const float *)sums + p * to.columns;
        uint16_t *half = (uint16_t *)to.data + p * to.row;
        if (to.column == 1) {
            narrow(pixel, half, to.columns);
            continue;
        }
        uint16_t dense[DENSE];
        for (int64_t c = 0; c < to.columns; c += DENSE) {
            const int64_t count = fc_min(DENSE, to.columns - c);
            narrow(pixel + c, dense, count);
            for (int64_t i = 0; i < count; i++) half[(c + i) * to.column] = dense[i];
        }
    }
}
