/* The kernels in AVX-512 (the foundation, byte, doubleword and vector-length sets: Skylake-X, Zen 4 and later). */
#if defined(__x86_64__)
#include "isa/compile.h"

FC_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#include "isa/simd/avx512.h"
#define FC_ISA avx512
#define FC_NAME "avx512"
#define FC_FUSED 1
#include "isa/all.inc"
FC_TARGET_END
#endif
