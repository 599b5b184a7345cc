/* Cuts pixels and elements into ranges, and hands these to the kernels, with denormals flushed. */
#include "layers/elementwise.h"
#include "base/arith.h"
#include "base/float_mode.h"

enum {
    ELEMENTS = 1 << 14, /* of a task: a gradient, a feature and a result fit into a second cache */
    CONVERTED = 256     /* elements that are converted at a time */
};

void fc_normalization_split(fc_normalization_call *call) {
    call->each = fc_max(1, ELEMENTS / call->operands.channels);
    call->tasks = fc_ceil_div(call->pixels, call->each);
}

void fc_normalization_task(const fc_normalization_call *call, int64_t task) {
    const fc_float_mode callers = fc_float_mode_enter();
    const int64_t first = task * call->each, end = fc_min(first + call->each, call->pixels);
    fc_arithmetic_of(call->kernels, call->dtype)->normalize(&call->operands, first, end);
    fc_float_mode_leave(callers);
}

void fc_activation_grad_split(fc_activation_grad *call) {
    call->each = ELEMENTS;
    call->tasks = fc_ceil_div(call->count, call->each);
}

/* The gradient of some elements of a half precision, CONVERTED at most. */
static void compute_converted(const fc_activation_grad *call, const void *dy, const void *x, int64_t count, void *dx) {
    const fc_conversion *conversion = &call->kernels->conversions[call->dtype];
    float gradients[CONVERTED], features[CONVERTED];
    conversion->widen(dy, gradients, count);
    conversion->widen(x, features, count);
    call->kernels->f32.activation_grad(call->activation, call->parameter, gradients, features, count, gradients);
    conversion->narrow(gradients, dx, count);
}

void fc_activation_grad_task(const fc_activation_grad *call, int64_t task) {
    const fc_float_mode callers = fc_float_mode_enter();
    const int converts = fc_is_converted(call->dtype);
    const int64_t size = fc_dtype_size(call->dtype), first = task * call->each;
    const int64_t end = fc_min(first + call->each, call->count), step = converts ? CONVERTED : end - first;
    for (int64_t i = first; i < end; i += step) {
        const char *const dy = (const char *)call->dy + i * size, *const x = (const char *)call->x + i * size;
        char *const dx = (char *)call->dx + i * size;
        const int64_t count = fc_min(step, end - i);
        if (converts)
            compute_converted(call, dy, x, count, dx);
        else
            fc_arithmetic_of(call->kernels, call->dtype)
                ->activation_grad(call->activation, call->parameter, dy, x, count, dx);
    }
    fc_float_mode_leave(callers);
}
