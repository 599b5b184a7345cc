/* Local response normalisation and gradients of relu, with denormals flushed. */
#include "elementwise.h"
#include "float_mode.h"
#include "pack.h"

void fc_normalize(const fc_kernels *kernels, fc_dtype dtype, const fc_normalization *call, int64_t first_pixel,
                  int64_t end_pixel) {
    const fc_float_mode callers = fc_float_mode_enter();
    fc_arithmetic(kernels, dtype)->normalize(call, first_pixel, end_pixel);
    fc_float_mode_leave(callers);
}

void fc_gate(const fc_kernels *kernels, fc_dtype dtype, const void *dy, const void *x, double limit, int64_t first,
             int64_t end, void *dx) {
    const fc_float_mode callers = fc_float_mode_enter();
    const int64_t at = first * fc_dtype_size(dtype);
    fc_arithmetic(kernels, dtype)
        ->gate((const char *)dy + at, (const char *)x + at, limit, end - first, (char *)dx + at);
    fc_float_mode_leave(callers);
}
