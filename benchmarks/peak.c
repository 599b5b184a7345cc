/* The machine's limits: multiply-adds a second in float32, and bytes a second of a copy; machine.py compiles it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define BYTES 64
#else
#define BYTES 32
#endif
typedef float vec __attribute__((vector_size(BYTES)));
enum { CHAINS = BYTES == 64 ? 24 : 12 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

/* Contraction makes each a fused multiply-add; independent chains hide its latency. */
static float work(int64_t rounds) {
    vec sum[CHAINS], a, b;
    for (int i = 0; i < (int)(BYTES / sizeof(float)); i++) a[i] = 0.999f, b[i] = 0.001f;
    for (int c = 0; c < CHAINS; c++) sum[c] = a * (float)c;
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 24
        for (int c = 0; c < CHAINS; c++) sum[c] = sum[c] * a + b;
    }
    for (int c = 1; c < CHAINS; c++) sum[0] += sum[c];
    return sum[0][0];
}

double peak_flops(int threads) {
    const int64_t rounds = 4000000;
    double best = 0;
    float sink = 0;
    for (int trial = 0; trial < 5; trial++) {
        const double start = seconds();
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : sink)
        for (int t = 0; t < threads; t++) sink += work(rounds);
        const double rate = 2.0 * threads * rounds * CHAINS * (BYTES / sizeof(float)) / (seconds() - start);
        if (rate > best) best = rate;
    }
    return sink == 12345.0f ? 0 : best;
}

double copy_bandwidth(int threads) {
    const size_t bytes = (size_t)256 << 20;
    char *from = malloc(bytes), *to = malloc(bytes);
    double best = 0;
    if (from && to) {
        memset(from, 1, bytes);
        memset(to, 2, bytes);
        for (int trial = 0; trial < 5; trial++) {
            const double start = seconds();
#pragma omp parallel for num_threads(threads) schedule(static, 1)
            for (int t = 0; t < threads; t++)
                memcpy(to + bytes / threads * t, from + bytes / threads * t, bytes / threads);
            const double rate = 2.0 * bytes / (seconds() - start); /* read and written */
            if (rate > best) best = rate;
        }
    }
    free(from);
    free(to);
    return best;
}
