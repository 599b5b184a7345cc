/* The kernels in plain C for x86-64 CPUs that have fused multiply-add, so that their bits are every other set's. */
#if defined(__x86_64__)
#include "isa/compile.h"

#include "base/half.h"
FC_TARGET_BEGIN("fma")
#define FC_ISA generic_fma
#define FC_NAME "generic"
#define FC_FUSED 1
#include "isa/simd/generic.h"
#include "isa/all.inc"
FC_TARGET_END
#endif
