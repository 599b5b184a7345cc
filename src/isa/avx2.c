/* The kernels in AVX2 with FMA and F16C (Haswell, Zen and later). */
#if defined(__x86_64__)
#include "isa/compile.h"

FC_TARGET_BEGIN("avx2,fma,f16c")
#include "isa/simd/avx2.h"
#define FC_ISA avx2
#define FC_NAME "avx2"
#define FC_FUSED 1
#include "isa/all.inc"
FC_TARGET_END
#endif
