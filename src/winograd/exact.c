/* Counts the bits that hold an image's numbers, or the filters', until these are too many. */
#include "winograd/exact.h"
#include "base/float_mode.h"
#include "conv/implicit_gemm.h"
#include <string.h>

enum {
    EXACT_BITS = 24,   /* of a float: products of factors with so many bits together are exact */
    AT_ONCE = 1024,    /* numbers that are converted together */
    FIRST = 16,        /* numbers that are converted first, since these usually decide */
    MANTISSA = 23,     /* bits, without the one that is not written */
    NOT_FINITE = 0xff, /* the exponent of infinities and NaN */
    FAR = 1 << 20      /* beyond any bit */
};

/* The numbers seen so far are multiples of 2^lowest and less than 2^(highest + 1); zeros do not count. */
typedef struct bits {
    int lowest, highest;
} bits;

static const bits no_bits = {FAR, -FAR};

/* How many bits hold all of them; 0 if there are none. */
static int bit_count(bits seen) { return seen.highest < seen.lowest ? 0 : seen.highest - seen.lowest + 1; }

/* The lowest and the highest bit of all; without branches, for the compiler to vectorize. */
static void add_bits(const float *values, int64_t count, bits *seen) {
    int32_t lowest = seen->lowest, highest = seen->highest;
    for (int64_t i = 0; i < count; i++) {
        int32_t word, position;
        memcpy(&word, &values[i], sizeof word);
        const int32_t exponent = word >> MANTISSA & 0xff, fraction = word & ((1 << MANTISSA) - 1);
        const int32_t whole = fraction | (1 << MANTISSA & ~((exponent - 1) >> 31));
        const float last = (float)(whole & -whole); /* a power of two: its exponent is the place of the last bit */
        memcpy(&position, &last, sizeof position);
        const int32_t is_zero = (whole - 1) >> 31; /* all bits, or none */
        const int32_t low = exponent + (position >> MANTISSA) - 127 + (is_zero & FAR);
        const int32_t high = exponent + MANTISSA - (is_zero & FAR);
        lowest = low < lowest ? low : lowest;
        highest = high > highest ? high : highest;
    }
    *seen = (bits){lowest, highest};
}

/* Adds a matrix's numbers to what was seen, until there are more bits than `most`: then 0. Numbers that are not finite
 * are many bits. */
static int add_bits_of(const fc_kernels *kernels, fc_dtype dtype, const fc_matrix *numbers, int most, bits *seen) {
    const fc_float_mode callers = fc_float_mode_enter();
    float values[AT_ONCE];
    int64_t at_once = FIRST;
    int few = 1;
    const int64_t size = fc_dtype_size(dtype), rows = numbers->rows, columns = numbers->columns;
    for (int64_t r = 0, some; r < rows && few; r += some) {
        some = columns < at_once ? fc_min(at_once / columns, rows - r) : 1;
        for (int64_t c = 0, count; c < columns && few; c += count) {
            count = fc_min(at_once, columns - c);
            const int64_t at = r * numbers->row + c * numbers->column;
            const fc_matrix part =
                fc_matrix_of((const char *)numbers->data + at * size, some, count, numbers->row, numbers->column);
            fc_stage_pixels(kernels, dtype, &part, values, count);
            add_bits(values, some * count, seen);
            few = bit_count(*seen) <= most && seen->highest < NOT_FINITE + MANTISSA;
            at_once = AT_ONCE;
        }
    }
    fc_float_mode_leave(callers);
    return few;
}

/* Does the same with an image of h x w pixels and c channels. */
static int add_image(const fc_kernels *kernels, const fc_tensor *x, int64_t image, const int64_t sizes[3], int most,
                     bits *seen) {
    for (int64_t y = 0; y < sizes[0]; y++) {
        const char *row = (const char *)x->data + (image * x->stride_n + y * x->stride_h) * fc_dtype_size(x->dtype);
        const fc_matrix pixels = fc_matrix_of(row, sizes[1], sizes[2], x->stride_w, x->stride_c);
        if (!add_bits_of(kernels, x->dtype, &pixels, most, seen)) return 0;
    }
    return 1;
}

/* How many bits hold all filters; 0 if they are too many, or all zeros. */
static int bits_of_filters(const fc_forward *call) {
    const fc_problem *p = &call->problem;
    const fc_filters *w = &call->w;
    bits seen = no_bits;
    for (int64_t tap = 0; tap < p->kh * p->kw; tap++) {
        const int64_t at = fc_tap_offset(p, w, tap);
        const char *from = (const char *)w->data + at * fc_dtype_size(call->x.dtype);
        const fc_matrix filters = fc_matrix_of(from, p->c, p->f, w->depth, w->column);
        if (!add_bits_of(call->kernels, call->x.dtype, &filters, EXACT_BITS - 1, &seen)) return 0;
    }
    return bit_count(seen);
}

int fc_filters_may_be_exact(const fc_forward *call) { return bits_of_filters(call) > 0; }

/* Whether direct sums of an image are exact beside filters of so many bits, as far as products go. */
static int image_is_exact(const fc_forward *call, int64_t image, int filter_bits) {
    const fc_problem *p = &call->problem;
    const int64_t sizes[3] = {p->h, p->w, p->c};
    bits seen = no_bits;
    return add_image(call->kernels, &call->x, image, sizes, EXACT_BITS - filter_bits, &seen) && bit_count(seen) > 0;
}

int64_t fc_take_images_apart(const fc_forward *call, fc_forward *parts) {
    const int filter_bits = bits_of_filters(call);
    const int64_t size = fc_dtype_size(call->x.dtype);
    int64_t count = 0;
    int last = 0;
    for (int64_t image = 0; filter_bits && image < call->problem.n; image++) {
        const int is_exact = image_is_exact(call, image, filter_bits);
        if (count && (is_exact == last || count == FC_MOST_PARTS)) {
            parts[count - 1].problem.n++;
            continue;
        }
        fc_forward *const part = &parts[count++];
        *part = *call;
        part->problem.n = 1;
        part->x.data = (char *)call->x.data + image * call->x.stride_n * size;
        part->y.data = (char *)call->y.data + image * call->y.stride_n * size;
        if (is_exact) {
            part->method = &fc_implicit_gemm_method;
            part->packed = NULL;
            part->tile = (fc_winograd){0};
        }
        last = is_exact;
    }
    if (count == 0) parts[count++] = *call;
    return count;
}

int fc_gradient_is_exact(const fc_backprop_filter *call) {
    const fc_problem *p = &call->problem;
    const int64_t x_sizes[3] = {p->h, p->w, p->c}, dy_sizes[3] = {p->oh, p->ow, p->f};
    bits of_x = no_bits, of_dy = no_bits;
    for (int64_t image = 0; image < p->n; image++) {
        if (!add_image(call->kernels, &call->dy, image, dy_sizes, EXACT_BITS - 1, &of_dy)) return 0;
        if (!add_image(call->kernels, &call->x, image, x_sizes, EXACT_BITS - 1, &of_x)) return 0;
        if (bit_count(of_x) + bit_count(of_dy) > EXACT_BITS) return 0;
    }
    return bit_count(of_x) > 0 && bit_count(of_dy) > 0;
}
