/* Local response normalisation, its gradient, and gradients of relu, on every instruction set, by ranges.
 *
 * The argument is the number of random problems of each kind. Prints what it ran. */
#include "elementwise.h"
#include "support.h"

static double get(const buffer *b, fc_dtype dtype, int64_t i) {
    return dtype == FC_F32 ? ((float *)b->data)[i] : ((double *)b->data)[i];
}

/* Between -4 and 4. */
static buffer numbers(fc_dtype dtype, int64_t count) {
    buffer b = allocate((size_t)(count * fc_dtype_size(dtype)));
    for (int64_t i = 0; i < count; i++) {
        const double value = (double)between(-4000, 4000) / 1000;
        if (dtype == FC_F32)
            ((float *)b.data)[i] = (float)value;
        else
            ((double *)b.data)[i] = value;
    }
    return b;
}

static double scale(const fc_normalization *call, const buffer *x, fc_dtype dtype, int64_t pixel, int64_t channel) {
    double sum = 0;
    for (int64_t c = channel - call->radius; c <= channel + call->radius; c++) {
        const double value = c < 0 || c >= call->channels ? 0 : get(x, dtype, pixel * call->channels + c);
        sum += value * value;
    }
    return call->bias + call->alpha * sum;
}

static void expect(const char *what, const fc_kernels *kernels, fc_dtype dtype, double found, double want, int64_t at) {
    const double tolerance = (dtype == FC_F32 ? 1e-5 : 1e-13) * (1 + fabs(want));
    if (!(fabs(found - want) <= tolerance)) fail(what, kernels->name, dtype, at);
}

static void test_normalization(const fc_kernels *kernels) {
    static const double powers[] = {0.5, 0.75, 1, 0.3};
    const fc_dtype dtype = between(0, 1) ? FC_F32 : FC_F64;
    const int64_t pixels = between(1, 6), cut = between(0, pixels);
    fc_normalization call = {.channels = between(0, 3) ? between(1, 70) : between(200, 600),
                             .radius = between(0, 3) ? between(0, 5) : between(0, FC_NORMALIZATION_RADIUS),
                             .bias = 1 + (double)between(0, 9) / 10,
                             .alpha = (double)between(1, 20) / 20,
                             .beta = powers[between(0, 3)]};
    const int64_t count = pixels * call.channels;
    buffer x = numbers(dtype, count), y = numbers(dtype, count), dy = numbers(dtype, count), dx = numbers(dtype, count);
    call.x = x.data;
    call.result = y.data;
    fc_normalize(kernels, dtype, &call, 0, cut);
    fc_normalize(kernels, dtype, &call, cut, pixels);
    call.y = y.data;
    call.dy = dy.data;
    call.result = dx.data;
    fc_normalize(kernels, dtype, &call, cut, pixels);
    fc_normalize(kernels, dtype, &call, 0, cut);
    for (int64_t at = 0; at < count; at++) {
        const int64_t pixel = at / call.channels, channel = at % call.channels;
        const double power = pow(scale(&call, &x, dtype, pixel, channel), -call.beta), value = get(&x, dtype, at);
        expect("normalization", kernels, dtype, get(&y, dtype, at), value * power, at);
        double sum = 0;
        for (int64_t c = channel - call.radius; c <= channel + call.radius; c++) {
            const int64_t other = pixel * call.channels + c;
            if (c < 0 || c >= call.channels) continue;
            sum += get(&dy, dtype, other) * get(&y, dtype, other) / scale(&call, &x, dtype, pixel, c);
        }
        const double want = get(&dy, dtype, at) * power - 2 * call.alpha * call.beta * value * sum;
        expect("gradient of normalization", kernels, dtype, get(&dx, dtype, at), want, at);
    }
    release(x, "x guards", kernels->name);
    release(y, "y guards", kernels->name);
    release(dy, "dy guards", kernels->name);
    release(dx, "dx guards", kernels->name);
}

/* With and without an upper limit, in place or not. */
static void test_gate(const fc_kernels *kernels) {
    const fc_dtype dtype = between(0, 1) ? FC_F32 : FC_F64;
    const int64_t count = between(1, 200), cut = between(0, count);
    const double limit = between(0, 1) ? 2 : NAN;
    buffer x = numbers(dtype, count), dy = numbers(dtype, count), dx = numbers(dtype, count);
    const int in_place = (int)between(0, 1);
    if (in_place) memcpy(dx.data, dy.data, dy.size);
    const void *from = in_place ? dx.data : dy.data;
    fc_gate(kernels, dtype, from, x.data, limit, 0, cut, dx.data);
    fc_gate(kernels, dtype, from, x.data, limit, cut, count, dx.data);
    for (int64_t i = 0; i < count; i++) {
        const double value = get(&x, dtype, i);
        const double want = value > 0 && !(value >= limit) ? get(&dy, dtype, i) : 0;
        if (get(&dx, dtype, i) != want) fail("gate", kernels->name, dtype, i);
    }
    release(x, "x guards", kernels->name);
    release(dy, "dy guards", kernels->name);
    release(dx, "dx guards", kernels->name);
}

int main(int argc, char **argv) {
    const int problems = argc > 1 ? atoi(argv[1]) : 300;
    for (int i = 0; i < fc_kernels_count(); i++) {
        const fc_kernels *kernels = fc_kernels_built(i);
        if (!fc_kernels_supported(i)) continue;
        for (int t = 0; t < problems; t++) test_normalization(kernels);
        for (int t = 0; t < problems; t++) test_gate(kernels);
        printf("%s (%s): %d normalizations and gates\n", kernels->name, kernels->fused ? "fused" : "not fused",
               problems);
    }
    return 0;
}
