/* Bias and activation, handed to the kernels. */
#include "epilogue.h"
#include "float_mode.h"
#include "pack.h"
#include "sizes.h"
#include <string.h>

enum {
    AT_ONCE = 1 << 12, /* elements: few enough for the first cache */
    HALVES = 256,      /* that are converted at a time */
};

static void finish(const fc_forward *call, int of_rows, int64_t channel, void *sums, int64_t rows, int64_t columns,
                   int64_t stride) {
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->x.dtype);
    fc_epilogue e = call->epilogue;
    if (!e.bias && e.activation == FC_LINEAR) return;
    if (e.bias) e.bias = (const char *)e.bias + channel * gemm->size;
    e.bias_of_rows = of_rows;
    gemm->finish(&e, sums, rows, columns, stride);
}

void fc_finish(const fc_forward *call, int64_t channel, void *sums, int64_t pixels, int64_t channels, int64_t stride) {
    finish(call, 0, channel, sums, pixels, channels, stride);
}

void fc_finish_planes(const fc_forward *call, int64_t channel, void *sums, int64_t channels, int64_t pixels,
                      int64_t stride) {
    finish(call, 1, channel, sums, channels, pixels, stride);
}

void fc_finishing_split(fc_finishing *call) {
    call->rows = 1;
    if (!call->epilogue.bias)
        call->columns = AT_ONCE; /* rows of any length will do */
    else if (!call->epilogue.bias_of_rows && call->columns < AT_ONCE)
        call->rows = AT_ONCE / call->columns;
    call->tasks = fc_parts(fc_parts(call->elements, call->columns), call->rows);
}

/* The same in a half precision, a few elements at a time. */
static void finish_half(const fc_finishing *call, fc_epilogue e, const uint16_t *from, uint16_t *to, int64_t columns) {
    const fc_kernels *kernels = call->kernels;
    fc_convert_fn *widen = call->dtype == FC_F16 ? kernels->f16_to_f32 : kernels->bf16_to_f32;
    fc_convert_fn *narrow = call->dtype == FC_F16 ? kernels->f32_to_f16 : kernels->f32_to_bf16;
    const float *bias = e.bias;
    for (int64_t c = 0; c < columns; c += HALVES) {
        const int64_t count = fc_least(HALVES, columns - c);
        float wide[HALVES];
        if (bias && !e.bias_of_rows) e.bias = bias + c;
        widen(from + c, wide, count);
        kernels->f32.finish(&e, wide, 1, count, count);
        narrow(wide, to + c, count);
    }
}

void fc_finishing_task(const fc_finishing *call, int64_t task) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_gemm *gemm = fc_arithmetic(call->kernels, call->dtype);
    const int64_t size = fc_dtype_size(call->dtype), first = task * call->rows * call->columns;
    const int64_t end = fc_least(call->elements, first + call->rows * call->columns);
    for (int64_t at = first; at < end; at += call->columns) {
        const int64_t count = fc_least(call->columns, end - at);
        const char *from = (const char *)call->source + at * size;
        char *to = (char *)call->result + at * size;
        fc_epilogue e = call->epilogue;
        if (e.bias && e.bias_of_rows) e.bias = (const char *)e.bias + at / call->columns % call->biases * gemm->size;
        if (fc_is_half(call->dtype)) {
            finish_half(call, e, (const uint16_t *)from, (uint16_t *)to, count);
        } else {
            if (from != to) memcpy(to, from, (size_t)(count * size));
            gemm->finish(&e, to, 1, count, count);
        }
    }
    fc_float_mode_leave(callers);
}
