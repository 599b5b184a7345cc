/* The kernels in plain C for any CPU of the baseline. */
#include "isa/compile.h"

#include "base/half.h"
#define FC_ISA generic
#define FC_NAME "generic"
#if defined(__aarch64__)
#define FC_FUSED 1
#else
#define FC_FUSED 0
#endif
#include "isa/simd/generic.h"
#include "isa/all.inc"
