/* Hands the bias and the activation of a call to the kernels. */
#include "conv/epilogue.h"

void fc_apply_epilogue(const fc_forward *call, int64_t channel, void *sums, int64_t pixels, int64_t channels,
                       int64_t stride) {
    const fc_arithmetic *kernels = fc_call_arithmetic(call);
    fc_epilogue e = call->epilogue;
    if (!e.bias && e.activation == FC_LINEAR) return;
    if (e.bias) e.bias = (const char *)e.bias + channel * kernels->size;
    e.bias_of_rows = 0;
    kernels->epilogue(&e, sums, pixels, channels, stride);
}

void fc_apply_epilogue_to_planes(const fc_forward *call, void *sums, int64_t pixels, int64_t stride) {
    fc_epilogue e = call->epilogue;
    if (!e.bias && e.activation == FC_LINEAR) return;
    e.bias_of_rows = 1;
    fc_call_arithmetic(call)->epilogue(&e, sums, call->problem.f, pixels, stride);
}
