/* Which instruction sets this build has, and which of them this CPU has. */
#include "kernels/kernels.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

extern const fc_kernels fc_kernels_generic;
#if defined(__x86_64__)
extern const fc_kernels fc_kernels_avx512, fc_kernels_avx2, fc_kernels_generic_fma;
static const fc_kernels *const built[] = {&fc_kernels_avx512, &fc_kernels_avx2, &fc_kernels_generic_fma,
                                          &fc_kernels_generic};

/* Clang before 18 does not know it in __builtin_cpu_supports; a system that saves AVX's registers saves what it needs.
 */
static int has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

static int supported(const fc_kernels *kernels) {
    if (kernels == &fc_kernels_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("fma") && has_f16c();
    if (kernels == &fc_kernels_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    if (kernels == &fc_kernels_generic_fma) return __builtin_cpu_supports("fma");
    return 1;
}
#elif defined(__aarch64__)
extern const fc_kernels fc_kernels_neon;
static const fc_kernels *const built[] = {&fc_kernels_neon, &fc_kernels_generic};

static int supported(const fc_kernels *kernels) { return kernels != 0; }
#else
static const fc_kernels *const built[] = {&fc_kernels_generic};

static int supported(const fc_kernels *kernels) { return kernels != 0; }
#endif

int fc_kernels_count(void) { return (int)(sizeof built / sizeof *built); }

const fc_kernels *fc_kernels_built(int index) { return built[index]; }

int fc_kernels_supported(int index) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    return supported(built[index]);
}
