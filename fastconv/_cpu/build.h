/* What the extension module is built with: the compiler, its flags, and OpenMP or what stands in for it. */
#ifndef FC_BUILD_H
#define FC_BUILD_H

#ifdef _OPENMP
#include <omp.h>
#define FC_OPENMP _OPENMP
#else
#define FC_OPENMP 0
static int omp_get_max_threads(void) { return 1; }
static int omp_get_num_procs(void) { return 1; }
#endif

#ifdef __clang__
#define FC_COMPILER "Clang " __clang_version__
#else
#define FC_COMPILER "GCC " __VERSION__
#endif

#ifndef FC_FLAGS
#define FC_FLAGS ""
#endif

#endif
