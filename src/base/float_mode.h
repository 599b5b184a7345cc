/* The floating-point mode inside a call: denormals flushed, round to nearest, no traps; the caller's is given back. */
#ifndef FC_BASE_FLOAT_MODE_H
#define FC_BASE_FLOAT_MODE_H

#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>

typedef unsigned int fc_float_mode;

static inline fc_float_mode fc_float_mode_enter(void) {
    const fc_float_mode callers = _mm_getcsr(); /* the sticky flags with it */
    _mm_setcsr(0x9fc0);                         /* flush to zero, denormals are zero, every exception masked */
    return callers;
}

static inline void fc_float_mode_leave(fc_float_mode callers) { _mm_setcsr(callers); }

#elif defined(__aarch64__)
typedef struct {
    uint64_t control, status;
} fc_float_mode;

static inline fc_float_mode fc_float_mode_enter(void) {
    fc_float_mode callers;
    __asm__ volatile("mrs %0, fpcr" : "=r"(callers.control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(callers.status));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)1 << 24) : "memory"); /* FZ */
    return callers;
}

static inline void fc_float_mode_leave(fc_float_mode callers) {
    __asm__ volatile("msr fpcr, %0" : : "r"(callers.control) : "memory");
    __asm__ volatile("msr fpsr, %0" : : "r"(callers.status) : "memory");
}

#else
typedef int fc_float_mode;

static inline fc_float_mode fc_float_mode_enter(void) { return 0; }
static inline void fc_float_mode_leave(fc_float_mode callers) { (void)callers; }
#endif

#endif
