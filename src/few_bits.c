/* Looks at numbers until one needs many bits, which on ordinary data is the first that is not zero. */
#include "few_bits.h"
#include "float_mode.h"
#include "pack.h"
#include "sizes.h"
#include <string.h>

enum {
    AT_ONCE = 1024, /* numbers that are converted together, */
    FIRST = 16,     /* but only so many at first, since these usually decide */
    MANTISSA = 23,  /* bits, without the one that is not written */
    NOT_FINITE = 0xff,
    FAR = 1 << 20, /* beyond any bit */
};

/* The lowest and the highest bit of all; without branches, for the compiler to vectorize. */
static void add_bits(const float *values, int64_t count, fc_bits *seen) {
    int32_t lowest = seen->lowest, highest = seen->highest;
    for (int64_t i = 0; i < count; i++) {
        int32_t bits, position;
        memcpy(&bits, &values[i], sizeof bits);
        const int32_t exponent = bits >> MANTISSA & 0xff, fraction = bits & ((1 << MANTISSA) - 1);
        const int32_t whole = fraction | (1 << MANTISSA & ~((exponent - 1) >> 31));
        const float last = (float)(whole & -whole); /* a power of two: its exponent is the place of the last bit */
        memcpy(&position, &last, sizeof position);
        const int32_t is_zero = (whole - 1) >> 31; /* all bits, or none */
        const int32_t low = exponent + (position >> MANTISSA) - 127 + (is_zero & FAR);
        const int32_t high = exponent + MANTISSA - (is_zero & FAR);
        lowest = low < lowest ? low : lowest;
        highest = high > highest ? high : highest;
    }
    *seen = (fc_bits){lowest, highest};
}

/* A matrix of numbers at any strides. */
static int add_bits_of(const fc_kernels *kernels, fc_dtype dtype, const void *from, int64_t row, int64_t column,
                       int64_t rows, int64_t columns, int most, fc_bits *seen) {
    const fc_float_mode callers = fc_float_mode_enter();
    float values[AT_ONCE];
    int64_t at_once = FIRST;
    int few = 1;
    const int64_t size = fc_dtype_size(dtype);
    for (int64_t r = 0, some; r < rows && few; r += some) {
        some = columns < at_once ? fc_least(at_once / columns, rows - r) : 1;
        for (int64_t c = 0, count; c < columns && few; c += count) {
            count = fc_least(at_once, columns - c);
            fc_stage_pixels(kernels, dtype, (const char *)from + (r * row + c * column) * size, row, column, some,
                            count, values, count);
            add_bits(values, some * count, seen);
            few = fc_bit_count(*seen) <= most && seen->highest < NOT_FINITE + MANTISSA;
            at_once = AT_ONCE;
        }
    }
    fc_float_mode_leave(callers);
    return few;
}

int fc_add_bits_of_image(const fc_kernels *kernels, const fc_tensor *x, int64_t image, int64_t h, int64_t w, int64_t c,
                         int most, fc_bits *seen) {
    for (int64_t y = 0; y < h; y++) {
        const char *row = (const char *)x->data + (image * x->stride_n + y * x->stride_h) * fc_dtype_size(x->dtype);
        if (!add_bits_of(kernels, x->dtype, row, x->stride_w, x->stride_c, w, c, most, seen)) return 0;
    }
    return 1;
}

int fc_add_bits_of_filters(const fc_kernels *kernels, fc_dtype dtype, const fc_filters *w, const fc_problem *p,
                           int most, fc_bits *seen) {
    for (int64_t tap = 0; tap < p->kh * p->kw; tap++) {
        const int64_t at = tap / p->kw * w->h + tap % p->kw * w->w;
        const char *from = (const char *)w->data + at * fc_dtype_size(dtype);
        if (!add_bits_of(kernels, dtype, from, w->depth, w->column, p->c, p->f, most, seen)) return 0;
    }
    return 1;
}
