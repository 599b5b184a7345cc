/* Applies an epilogue to a tensor, some rows at a time. */
#include "layers/epilogue.h"
#include "base/arith.h"
#include "base/float_mode.h"
#include <string.h>

enum { CONVERTED = 256 /* elements that are converted at a time */ };

void fc_epilogue_pass_split(fc_epilogue_pass *call) {
    const int64_t most = call->kernels->tuning.epilogue_elements;
    call->rows = 1;
    if (!call->epilogue.bias)
        call->columns = most; /* rows of any length will do */
    else if (!call->epilogue.bias_of_rows && call->columns < most)
        call->rows = most / call->columns;
    call->tasks = fc_ceil_div(fc_ceil_div(call->elements, call->columns), call->rows);
}

/* Applies it to a row of a half precision, some elements at a time. */
static void apply_converted(const fc_epilogue_pass *call, fc_epilogue e, const uint16_t *from, uint16_t *to,
                            int64_t columns) {
    const fc_conversion *conversion = &call->kernels->conversions[call->dtype];
    const float *bias = e.bias;
    for (int64_t c = 0; c < columns; c += CONVERTED) {
        const int64_t count = fc_min(CONVERTED, columns - c);
        float wide[CONVERTED];
        if (bias && !e.bias_of_rows) e.bias = bias + c;
        conversion->widen(from + c, wide, count);
        call->kernels->f32.epilogue(&e, wide, 1, count, count);
        conversion->narrow(wide, to + c, count);
    }
}

void fc_epilogue_pass_task(const fc_epilogue_pass *call, int64_t task) {
    const fc_float_mode callers = fc_float_mode_enter();
    const fc_arithmetic *kernels = fc_arithmetic_of(call->kernels, call->dtype);
    const int64_t size = fc_dtype_size(call->dtype), first = task * call->rows * call->columns;
    const int64_t end = fc_min(call->elements, first + call->rows * call->columns);
    for (int64_t at = first; at < end; at += call->columns) {
        const int64_t count = fc_min(call->columns, end - at);
        const char *from = (const char *)call->source + at * size;
        char *to = (char *)call->result + at * size;
        fc_epilogue e = call->epilogue;
        if (e.bias && e.bias_of_rows) e.bias = (const char *)e.bias + at / call->columns % call->biases * kernels->size;
        if (fc_is_converted(call->dtype)) {
            apply_converted(call, e, (const uint16_t *)from, (uint16_t *)to, count);
        } else {
            if (from != to) memcpy(to, from, (size_t)(count * size));
            kernels->epilogue(&e, to, 1, count, count);
        }
    }
    fc_float_mode_leave(callers);
}
