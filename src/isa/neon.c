/* The kernels in NEON, which every AArch64 CPU has. */
#if defined(__aarch64__)
#include "isa/compile.h"

#include "isa/simd/neon.h"
#define FC_ISA neon
#define FC_NAME "neon"
#define FC_FUSED 1
#include "isa/all.inc"
#endif
