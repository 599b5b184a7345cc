/* Local response normalization, its gradient, and gradients of activations, on every instruction set, by tasks.
 *
 * The argument is the number of random problems of each kind. Prints what it ran. */
#include "layers/elementwise.h"
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
    fc_normalization_call whole = {
        .kernels = kernels,
        .dtype = dtype,
        .operands = {.channels = between(0, 3) ? between(1, 70) : between(200, 600),
                     .radius = between(0, 3) ? between(0, 5) : between(0, FC_NORMALIZATION_RADIUS),
                     .bias = 1 + (double)between(0, 9) / 10,
                     .alpha = (double)between(1, 20) / 20,
                     .beta = powers[between(0, 3)]},
        .pixels = between(1, 6)};
    fc_normalization *const operands = &whole.operands, call = whole.operands;
    const int64_t count = whole.pixels * call.channels;
    buffer x = numbers(dtype, count), y = numbers(dtype, count), dy = numbers(dtype, count), dx = numbers(dtype, count);
    operands->x = x.data;
    operands->result = y.data;
    fc_normalization_split(&whole);
    whole.each = between(1, whole.pixels); /* smaller ranges, for there to be several tasks */
    whole.tasks = (whole.pixels - 1) / whole.each + 1;
    for (int64_t t = whole.tasks - 1; t >= 0; t--) fc_normalization_task(&whole, t);
    operands->y = y.data;
    operands->dy = dy.data;
    operands->result = dx.data;
    for (int64_t t = 0; t < whole.tasks; t++) fc_normalization_task(&whole, t);
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

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* The derivative, in double. */
static double derivative(fc_activation activation, double parameter, double x) {
    if (activation == FC_RELU) return x > 0 && !(x >= parameter);
    if (activation == FC_SILU) return sigmoid(parameter * x) * (1 + parameter * x * sigmoid(-parameter * x));
    if (activation == FC_GELU) return 0.5 * erfc(-sqrt(0.5) * x) + x * exp(-x * x / 2) / sqrt(8 * atan(1));
    const double twice = sqrt(2 / atan(1)), z = twice * (x + 0.044715 * x * x * x);
    return sigmoid(z) * (1 + x * twice * (1 + 3 * 0.044715 * x * x) * sigmoid(-z));
}

/* relu with and without an upper limit; the result apart, or in the place of the gradients or the features. */
static void test_activation_grad(const fc_kernels *kernels) {
    static const fc_activation activations[] = {FC_RELU, FC_SILU, FC_GELU, FC_GELU_TANH};
    const fc_dtype dtype = between(0, 1) ? FC_F32 : FC_F64;
    const int64_t count = between(1, 3) > 1 ? between(1, 200) : between(1000, 3000);
    fc_activation_grad call = {.kernels = kernels, .dtype = dtype, .activation = activations[between(0, 3)]};
    call.parameter = call.activation == FC_SILU ? 1.5 : between(0, 1) ? 2 : NAN;
    buffer x = numbers(dtype, count), dy = numbers(dtype, count), dx = numbers(dtype, count);
    const int64_t place = between(0, 2);
    if (place) memcpy(dx.data, (place == 1 ? dy : x).data, dx.size);
    call.dy = place == 1 ? dx.data : dy.data;
    call.x = place == 2 ? dx.data : x.data;
    call.dx = dx.data;
    call.count = count;
    fc_activation_grad_split(&call);
    call.each = between(1, count);
    call.tasks = (count - 1) / call.each + 1;
    for (int64_t t = call.tasks - 1; t >= 0; t--) fc_activation_grad_task(&call, t);
    for (int64_t i = 0; i < count; i++) {
        const double want = get(&dy, dtype, i) * derivative(call.activation, call.parameter, get(&x, dtype, i));
        if (call.activation == FC_RELU && get(&dx, dtype, i) != want) fail("relu_grad", kernels->name, dtype, i);
        expect("gradient of activation", kernels, dtype, get(&dx, dtype, i), want, i);
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
        for (int t = 0; t < problems; t++) test_activation_grad(kernels);
        printf("%s (%s): %d normalizations and gradients of activations\n", kernels->name,
               kernels->fused ? "fused" : "not fused", problems);
    }
    return 0;
}
