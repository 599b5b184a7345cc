/* What it takes to compile the kernels for an instruction set other than the baseline, without compiler flags.
 *
 * A kernel's body is one FC_INLINE function for all of its variants. What the compiler is to know of a variant, such as
 * the height of its register tile, are `const` parameters, which are constants at every call: so many bodies have more
 * than seven parameters. */
#ifndef FC_ISA_COMPILE_H
#define FC_ISA_COMPILE_H

#include "kernels/kernels.h"
#include <math.h>
#include <string.h>

#define FC_JOIN_(a, b) a##_##b
#define FC_JOIN(a, b) FC_JOIN_(a, b)

/* X(1) to X(n): FC_JOIN(FC_UP_TO, FC_MR)(X) does something for each height of a register tile. */
#define FC_UP_TO_1(X) X(1)
#define FC_UP_TO_2(X) FC_UP_TO_1(X) X(2)
#define FC_UP_TO_3(X) FC_UP_TO_2(X) X(3)
#define FC_UP_TO_4(X) FC_UP_TO_3(X) X(4)
#define FC_UP_TO_5(X) FC_UP_TO_4(X) X(5)
#define FC_UP_TO_6(X) FC_UP_TO_5(X) X(6)
#define FC_UP_TO_7(X) FC_UP_TO_6(X) X(7)
#define FC_UP_TO_8(X) FC_UP_TO_7(X) X(8)
#define FC_UP_TO_9(X) FC_UP_TO_8(X) X(9)
#define FC_UP_TO_10(X) FC_UP_TO_9(X) X(10)
#define FC_UP_TO_11(X) FC_UP_TO_10(X) X(11)
#define FC_UP_TO_12(X) FC_UP_TO_11(X) X(12)
#define FC_UP_TO_13(X) FC_UP_TO_12(X) X(13)
#define FC_UP_TO_14(X) FC_UP_TO_13(X) X(14)
#define FC_UP_TO_15(X) FC_UP_TO_14(X) X(15)
#define FC_UP_TO_16(X) FC_UP_TO_15(X) X(16)

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
