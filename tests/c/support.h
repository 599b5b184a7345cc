/* What the tests of the C side share: random numbers, guarded buffers, and tensors of small integers.
 *
 * Every buffer is an allocation of its exact size with guard bytes on both sides, so that it is checked with and
 * without a sanitizer. The first failure is printed and ends the test with 1. */
#include "conv/filter_method.h"
#include "base/float_mode.h"
#include "base/half.h"
#include "layout/copy.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64 };

static uint64_t state = 88172645463325252u;
static inline uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}
static inline int64_t between(int64_t low, int64_t high) {
    return low + (int64_t)(next_random() % (uint64_t)(high - low + 1));
}

static inline void fail(const char *what, const char *isa, int64_t a, int64_t b) {
    printf("FAILED: %s on %s (%lld, %lld)\n", what, isa, (long long)a, (long long)b);
    exit(1);
}

/* A buffer between guards; under AddressSanitizer an allocation of its own, else bytes that are looked at later. */
typedef struct buffer {
    unsigned char *base, *data;
    size_t size;
} buffer;

static inline buffer allocate(size_t size) {
    buffer b = {.size = size};
#ifdef __SANITIZE_ADDRESS__
    b.base = b.data = malloc(size ? size : 1);
#else
    b.base = malloc(size + 2 * GUARD);
    if (b.base) memset(b.base, 0xa5, size + 2 * GUARD);
    b.data = b.base + GUARD;
#endif
    if (!b.base) exit(2);
    return b;
}

static inline void release(buffer b, const char *what, const char *isa) {
#ifndef __SANITIZE_ADDRESS__
    for (int i = 0; i < GUARD; i++)
        if (b.base[i] != 0xa5 || b.data[b.size + (size_t)i] != 0xa5) fail(what, isa, i, (int64_t)b.size);
#endif
    free(b.base);
    (void)what, (void)isa;
}

static inline double element(const buffer *b, fc_dtype dtype, int64_t index) {
    if (dtype == FC_F64) return ((double *)b->data)[index];
    if (dtype == FC_I32) return ((int32_t *)b->data)[index];
    if (dtype == FC_F32) return ((float *)b->data)[index];
    const uint16_t half = ((uint16_t *)b->data)[index];
    return dtype == FC_F16 ? f16_value(half) : bf16_value(half);
}

static inline void fill_dtype(buffer *b, fc_dtype dtype, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const int value = (int)between(-8, 8); /* small integers: every sum is exact in every type */
        if (dtype == FC_F64) ((double *)b->data)[i] = value;
        if (dtype == FC_I32) ((int32_t *)b->data)[i] = value;
        if (dtype == FC_F32) ((float *)b->data)[i] = (float)value;
        if (fc_is_converted(dtype))
            ((uint16_t *)b->data)[i] = dtype == FC_F16 ? f16_round((float)value / 8) : bf16_round((float)value / 8);
    }
}

static inline double rounded(fc_dtype dtype, double sum) {
    if (dtype == FC_F16) return f16_value(f16_round((float)sum));
    return dtype == FC_BF16 ? bf16_value(bf16_round((float)sum)) : sum;
}

/* An arithmetic type, and its operations one by one, as kernels do them. */
typedef enum kind { F32, F64, I32 } kind;
__attribute__((unused)) static const char *const kind_names[] = {"f32", "f64", "i32"};

static inline void fill(void *data, kind k, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const double value = (double)between(-1000000, 1000000) / 300000;
        if (k == F32) ((float *)data)[i] = (float)value;
        if (k == F64) ((double *)data)[i] = value;
        if (k == I32) ((uint32_t *)data)[i] = (uint32_t)next_random();
    }
}

static inline void multiply_add(kind k, int fused, const void *a, const void *b, void *sum) {
    if (k == I32) *(uint32_t *)sum += *(const uint32_t *)a * *(const uint32_t *)b;
    if (k == F32) {
        const volatile float product = *(const float *)a * *(const float *)b;
        *(float *)sum = fused ? fmaf(*(const float *)a, *(const float *)b, *(float *)sum) : product + *(float *)sum;
    }
    if (k == F64) {
        const volatile double product = *(const double *)a * *(const double *)b;
        *(double *)sum = fused ? fma(*(const double *)a, *(const double *)b, *(double *)sum) : product + *(double *)sum;
    }
}

static inline void add(kind k, const void *block, void *sum) {
    if (k == I32) *(uint32_t *)sum += *(const uint32_t *)block;
    if (k == F32) *(float *)sum += *(const float *)block;
    if (k == F64) *(double *)sum += *(const double *)block;
}

static inline const fc_arithmetic *arithmetic_of(const fc_kernels *kernels, kind k) {
    return k == F32 ? &kernels->f32 : k == F64 ? &kernels->f64 : &kernels->i32;
}
