/* What the tests of the C side share: random numbers, guarded buffers, and tensors of small integers.
 *
 * Every buffer is an allocation of its exact size with guard bytes on both sides, so that it is checked with and
 * without a sanitizer. The first failure is printed and ends the test with 1. */
#include "backprop_filter.h"
#include "float_mode.h"
#include "half.h"
#include "pack.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64 };

static uint64_t state = 88172645463325252u;
static uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}
static int64_t between(int64_t low, int64_t high) {
    return low + (int64_t)(next_random() % (uint64_t)(high - low + 1));
}

static void fail(const char *what, const char *isa, int64_t a, int64_t b) {
    printf("FAILED: %s on %s (%lld, %lld)\n", what, isa, (long long)a, (long long)b);
    exit(1);
}

/* A buffer between guards; under AddressSanitizer an allocation of its own, else bytes that are looked at later. */
typedef struct buffer {
    unsigned char *base, *data;
    size_t size;
} buffer;

static buffer allocate(size_t size) {
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

static void release(buffer b, const char *what, const char *isa) {
#ifndef __SANITIZE_ADDRESS__
    for (int i = 0; i < GUARD; i++)
        if (b.base[i] != 0xa5 || b.data[b.size + (size_t)i] != 0xa5) fail(what, isa, i, (int64_t)b.size);
#endif
    free(b.base);
    (void)what, (void)isa;
}
