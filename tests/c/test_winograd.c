/* Winograd's kernels on every instruction set, one by one: transforms together against direct sums.
 *
 * The argument is the number of random tiles of each kind. Prints what it ran. */
#include "support.h"

static float at(const buffer *b, int64_t index) { return ((const float *)b->data)[index]; }

static buffer numbers(int64_t count) {
    buffer b = allocate((size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++) ((float *)b.data)[i] = (float)between(-4000, 4000) / 1000;
    return b;
}

/* One tile of one input channel (in lanes of several) and some output channels. */
static void test_transforms(const fc_kernels *kernels) {
    const int lanes = kernels->f32.lanes, tall = (int)between(0, 1), long_ = (int)between(0, 1);
    const int64_t rows = tall ? 6 : 4, columns = long_ ? 6 : 4, cells = rows * columns;
    const int64_t channels = between(1, 2 * lanes), whole = (channels + lanes - 1) / lanes * lanes;
    const int64_t outputs = between(1, 2 * lanes), vectors = outputs > lanes ? 2 : 1, width = vectors * lanes;
    buffer x = numbers(cells * channels), w = numbers(9 * width), v = numbers(cells * whole),
           u = numbers(cells * width);
    buffer m = numbers(cells * width), y = numbers((rows - 2) * (columns - 2) * outputs);
    const void *table[36];
    for (int64_t i = 0; i < cells; i++) table[i] = x.data + (size_t)(i * channels) * sizeof(float);
    const int rung = 2 * tall + long_;
    kernels->winograd.input[rung](table, channels, whole, v.data, 0, whole);
    kernels->winograd.filter[rung](&(fc_taps){w.data, 9 * width, 3 * width, width}, 1, (int)vectors, u.data, 0, width);
    const int64_t c = between(0, channels - 1);
    for (int64_t i = 0; i < cells; i++)
        for (int64_t f = 0; f < width; f++)
            ((float *)m.data)[i * width + f] = at(&v, i * whole + c) * at(&u, i * width + f);
    const int finite =
        kernels->winograd.output[rung](m.data, width, (int)outputs, y.data, (columns - 2) * outputs, outputs);
    if (!finite) fail("finite outputs", kernels->name, rows, columns);
    for (int64_t i = 0; i < rows - 2; i++)
        for (int64_t j = 0; j < columns - 2; j++)
            for (int64_t f = 0; f < outputs; f++) {
                double sum = 0;
                for (int tap = 0; tap < 9; tap++)
                    sum += (double)at(&x, ((i + tap / 3) * columns + j + tap % 3) * channels + c) *
                           at(&w, tap * width + f);
                const double found = at(&y, (i * (columns - 2) + j) * outputs + f);
                if (!(fabs(found - sum) < 2e-4)) fail("transforms", kernels->name, rows, columns);
            }
    ((float *)m.data)[between(0, outputs - 1)] = between(0, 1) ? NAN : INFINITY;
    if (kernels->winograd.output[rung](m.data, width, (int)outputs, y.data, (columns - 2) * outputs, outputs))
        fail("outputs that are not finite", kernels->name, rows, columns);
    release(x, "x guards", kernels->name);
    release(w, "w guards", kernels->name);
    release(v, "v guards", kernels->name);
    release(u, "u guards", kernels->name);
    release(m, "m guards", kernels->name);
    release(y, "y guards", kernels->name);
}

static void test_peak(const fc_kernels *kernels) {
    const int64_t count = between(1, 100);
    buffer x = numbers(count);
    float most = 0;
    for (int64_t i = 0; i < count; i++) most = fmaxf(most, fabsf(at(&x, i)));
    if (kernels->winograd.peak(x.data, count) != fc_bits_of_float(most)) fail("peak", kernels->name, count, 0);
    ((float *)x.data)[between(0, count - 1)] = -NAN;
    if (kernels->winograd.peak(x.data, count) <= fc_bits_of_float(INFINITY))
        fail("peak of NaN", kernels->name, count, 0);
    release(x, "x guards", kernels->name);
}

int main(int argc, char **argv) {
    const int problems = argc > 1 ? atoi(argv[1]) : 300;
    for (int i = 0; i < fc_kernels_count(); i++) {
        const fc_kernels *kernels = fc_kernels_built(i);
        if (!fc_kernels_supported(i)) continue;
        for (int t = 0; t < problems; t++) {
            test_transforms(kernels);
            test_peak(kernels);
        }
        printf("%s (%s): %d transforms and peaks\n", kernels->name, kernels->fused ? "fused" : "not fused", problems);
    }
    return 0;
}
