/* Local response normalization and gradients of activations, with denormals flushed. */
#include "elementwise.h"
#include "float_mode.h"
#include "pack.h"
#include "sizes.h"

void fc_normalize(const fc_kernels *kernels, fc_dtype dtype, const fc_normalization *call, int64_t first_pixel,
                  int64_t end_pixel) {
    const fc_float_mode callers = fc_float_mode_enter();
    fc_arithmetic(kernels, dtype)->normalize(call, first_pixel, end_pixel);
    fc_float_mode_leave(callers);
}

void fc_activation_grad_range(const fc_activation_grad *call, int64_t first, int64_t end) {
    enum { AT_ONCE = 256 }; /* halves that are converted at a time */
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_kernels *kernels = call->kernels;
    fc_activation_grad_fn *compute = fc_arithmetic(kernels, call->dtype)->activation_grad;
    const int64_t size = fc_dtype_size(call->dtype), step = fc_is_half(call->dtype) ? AT_ONCE : end - first;
    for (int64_t i = first; i < end; i += step) {
        const void *dy = (const char *)call->dy + i * size, *x = (const char *)call->x + i * size;
        void *dx = (char *)call->dx + i * size;
        const int64_t count = fc_least(step, end - i);
        if (fc_is_half(call->dtype)) {
            float gradients[AT_ONCE], features[AT_ONCE];
            fc_convert_fn *widen = call->dtype == FC_F16 ? kernels->f16_to_f32 : kernels->bf16_to_f32;
            widen(dy, gradients, count);
            widen(x, features, count);
            compute(call->activation, call->parameter, gradients, features, count, gradients);
            (call->dtype == FC_F16 ? kernels->f32_to_f16 : kernels->f32_to_bf16)(gradients, dx, count);
        } else {
            compute(call->activation, call->parameter, dy, x, count, dx);
        }
    }
    fc_float_mode_leave(callers);
}
