/* What it takes to compile the kernels for an instruction set other than the baseline, without compiler flags. */
#ifndef FC_COMPILE_H
#define FC_COMPILE_H

#include "../kernels.h"
#include <math.h>
#include <string.h>

#define FC_JOIN_(a, b) a##_##b
#define FC_JOIN(a, b) FC_JOIN_(a, b)
#define FC_PRAGMA(text) _Pragma(#text)
#define FC_INLINE inline __attribute__((always_inline))
#define FC_OPAQUE(pointer) __asm__("" : "+r"(pointer)) /* the compiler forgets what it knows of it */

#ifdef __clang__
#define FC_UNROLL _Pragma("unroll")
#define FC_TARGET_BEGIN(features)                                                                                      \
    FC_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define FC_TARGET_END _Pragma("clang attribute pop")
#else
#define FC_UNROLL _Pragma("GCC unroll 16")
#define FC_TARGET_BEGIN(features) FC_PRAGMA(GCC push_options) FC_PRAGMA(GCC target(features))
#define FC_TARGET_END _Pragma("GCC pop_options")
#endif

#endif
