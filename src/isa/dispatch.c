/* Which instruction sets this build has, and which of them this CPU has. */
#include "kernels/kernels.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

typedef struct instruction_set {
    const fc_kernels *kernels;
    int (*supported)(void);
} instruction_set;

static int always(void) { return 1; }

extern const fc_kernels fc_kernels_generic;
#if defined(__x86_64__)
extern const fc_kernels fc_kernels_avx512, fc_kernels_avx2, fc_kernels_generic_fma;

static int has_fma(void) { return __builtin_cpu_supports("fma"); }

/* Clang before 18 does not know F16C in __builtin_cpu_supports. A system that saves AVX's registers saves what it
 * needs.
 */
static int has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

static int has_avx2(void) { return __builtin_cpu_supports("avx2") && has_fma() && has_f16c(); }

static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && has_fma() && has_f16c();
}
#elif defined(__aarch64__)
extern const fc_kernels fc_kernels_neon;
#endif

/* Best first. */
static const instruction_set built[] = {
#if defined(__x86_64__)
    {&fc_kernels_avx512, has_avx512},
    {&fc_kernels_avx2, has_avx2},
    {&fc_kernels_generic_fma, has_fma},
#elif defined(__aarch64__)
    {&fc_kernels_neon, always},
#endif
    {&fc_kernels_generic, always},
};

int fc_kernels_count(void) { return (int)(sizeof built / sizeof *built); }

const fc_kernels *fc_kernels_built(int index) { return built[index].kernels; }

int fc_kernels_supported(int index) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    return built[index].supported();
}
