/* Local response normalization and gradients of activations, with denormals flushed. */
#include "elementwise.h"
#include "float_mode.h"
#include "pack.h"
#include "sizes.h"
#include <string.h>

void fc_normalize(const fc_kernels *kernels, fc_dtype dtype, const fc_normalization *call, int64_t first_pixel,
                  int64_t end_pixel) {
    const fc_float_mode callers = fc_float_mode_enter();
    fc_arithmetic(kernels, dtype)->normalize(call, first_pixel, end_pixel);
    fc_float_mode_leave(callers);
}

void fc_activation_grad_range(const fc_activation_grad *call, int64_t first, int64_t end) {
    enum { AT_ONCE = 1 << 10 }; /* elements: few enough for the first cache */
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_kernels *kernels = call->kernels;
    fc_activation_grad_fn *multiply = fc_arithmetic(kernels, call->dtype)->activation_grad;
    const int64_t size = fc_dtype_size(call->dtype);
    for (int64_t i = first; i < end; i += AT_ONCE) {
        double gradients[AT_ONCE], features[AT_ONCE]; /* or floats: dx may be dy or x */
        const char *dy = (const char *)call->dy + i * size, *x = (const char *)call->x + i * size;
        char *dx = (char *)call->dx + i * size;
        const int64_t count = fc_least(AT_ONCE, end - i);
        if (fc_is_half(call->dtype)) {
            fc_convert_fn *widen = call->dtype == FC_F16 ? kernels->f16_to_f32 : kernels->bf16_to_f32;
            widen((const uint16_t *)dy, (float *)gradients, count);
            widen((const uint16_t *)x, (float *)features, count);
            multiply(call->activation, call->parameter, features, count, gradients);
            (call->dtype == FC_F16 ? kernels->f32_to_f16 : kernels->f32_to_bf16)((float *)gradients, (uint16_t *)dx,
                                                                                 count);
        } else {
            memcpy(gradients, dy, (size_t)(count * size));
            multiply(call->activation, call->parameter, x, count, gradients);
            memcpy(dx, gradients, (size_t)(count * size));
        }
    }
    fc_float_mode_leave(callers);
}
