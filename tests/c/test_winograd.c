/* Winograd's kernels on every instruction set, one by one: products bit for bit, transforms together against direct
 * sums.
 *
 * The argument is the number of random tiles of each kind. Prints what it ran. */
#include "shapes.h"
#include "support.h"

static float at(const buffer *b, int64_t index) { return ((const float *)b->data)[index]; }

static buffer numbers(int64_t count) {
    buffer b = allocate((size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++) ((float *)b.data)[i] = (float)between(-4000, 4000) / 1000;
    return b;
}

static float add_product(const fc_kernels *kernels, float a, float b, float sum) {
    const volatile float product = a * b;
    return kernels->fused ? fmaf(a, b, sum) : product + sum;
}

/* Groups of tiles times panels, between guards. */
static void test_products(const fc_kernels *kernels) {
    const fc_winograd_kernels *winograd = &kernels->winograd;
    const int64_t halves = between(1, 2), rows = between(1, winograd->mr[halves - 1]), groups = between(1, 3);
    const int64_t vectors = between(1, 2), width = vectors * kernels->f32.lanes, panels = between(1, 3);
    const int64_t channels = between(1, 90), block = 16 * between(1, 3), tiles = rows * groups;
    const int64_t blocks = (channels + block - 1) / block;
    buffer v = numbers(blocks * tiles * block), u = numbers(panels * channels * width);
    buffer m = numbers(panels * tiles * width), want = numbers(panels * tiles * width);
    const int accumulate = (int)between(0, 1);
    for (int64_t i = 0; i < panels * tiles * width; i++) {
        const int64_t panel = i / width / tiles, t = i / width % tiles, f = i % width;
        float sum = at(&m, i);
        for (int64_t b = 0; b < blocks; b++) {
            float half[2] = {0, 0};
            for (int64_t c = 0; c < block && b * block + c < channels; c++) {
                float *of = &half[halves == 2 && c >= block / 2];
                *of = add_product(kernels, at(&v, (b * tiles + t) * block + c),
                                  at(&u, (panel * channels + b * block + c) * width + f), *of);
            }
            const float of_block = halves == 2 ? half[0] + half[1] : half[0];
            sum = b || accumulate ? sum + of_block : of_block;
        }
        ((float *)want.data)[i] = sum;
    }
    const fc_products call = {.v = v.data,
                              .groups = groups,
                              .v_block = tiles * block,
                              .u = u.data,
                              .panels = panels,
                              .u_panel = channels * width,
                              .channels = channels,
                              .block = block,
                              .m = m.data,
                              .m_panel = tiles * width,
                              .accumulate = accumulate,
                              .prefetch = (const char *)u.data,
                              .prefetch_groups = between(0, 9),
                              .prefetch_each = between(0, 9),
                              .prefetch_step = 64,
                              .prefetch_jump = 64};
    winograd->products[halves - 1][vectors - 1][rows - 1](&call);
    if (memcmp(m.data, want.data, want.size)) fail("products", kernels->name, rows, channels);
    release(v, "v guards", kernels->name);
    release(u, "u guards", kernels->name);
    release(m, "m guards", kernels->name);
    release(want, "test", kernels->name);
}

/* The shape of a tile: its outputs, taps and cells. */
typedef struct tile {
    int64_t stride, high, wide, tile_index, taps_h, taps_w, rows, columns, cells;
} tile;

static tile any_tile(void) {
    const int64_t stride = between(1, 2), *shape = fc_shapes[stride == 2 ? 0 : between(0, 8)];
    tile t = {.stride = stride, .high = shape[0], .wide = shape[1]};
    t.tile_index = stride == 2 ? 0 : 4 * (t.high - 1) + t.wide - 1;
    t.taps_h = fc_sub_kernel_taps((int)t.high);
    t.taps_w = fc_sub_kernel_taps((int)t.wide);
    t.rows = (t.high - 1) * stride + t.taps_h;
    t.columns = (t.wide - 1) * stride + t.taps_w;
    t.cells = t.rows * t.columns;
    return t;
}

/* One tile of one input channel (in lanes of several) and some output channels. */
static void test_transforms(const fc_kernels *kernels) {
    const int lanes = kernels->f32.lanes;
    const tile t = any_tile();
    const int64_t high = t.high, wide = t.wide, taps_h = t.taps_h, taps_w = t.taps_w, cells = t.cells;
    const int64_t there_h = between(0, 1) ? taps_h : between(1, taps_h);
    const int64_t there_w = between(0, 1) ? taps_w : between(1, taps_w);
    const int64_t channels = between(1, 2 * lanes), whole = (channels + lanes - 1) / lanes * lanes;
    const int64_t outputs = between(1, 2 * lanes), vectors = outputs > lanes ? 2 : 1, width = vectors * lanes;
    buffer x = numbers(cells * channels), w = numbers(taps_h * taps_w * width), v = numbers(cells * whole),
           u = numbers(cells * width);
    buffer m = numbers(cells * width), y = numbers(high * wide * outputs);
    const void *table[36];
    for (int64_t i = 0; i < cells; i++) table[i] = x.data + (size_t)(i * channels) * sizeof(float);
    kernels->winograd.input[t.tile_index](table, channels, whole, v.data, 0, whole);
    kernels->winograd.filter[t.tile_index](&(fc_taps){w.data, 0, taps_w * width, width, (int)there_h, (int)there_w}, 1,
                                           (int)vectors, u.data, 0, width);
    const int64_t c = between(0, channels - 1);
    for (int64_t i = 0; i < cells; i++)
        for (int64_t f = 0; f < width; f++)
            ((float *)m.data)[i * width + f] = at(&v, i * whole + c) * at(&u, i * width + f);
    const int finite =
        kernels->winograd.output[t.tile_index](m.data, width, (int)outputs, y.data, wide * outputs, outputs);
    if (!finite) fail("finite outputs", kernels->name, t.rows, t.columns);
    for (int64_t i = 0; i < high; i++)
        for (int64_t j = 0; j < wide; j++)
            for (int64_t f = 0; f < outputs; f++) {
                double sum = 0;
                for (int64_t k = 0; k < there_h; k++)
                    for (int64_t l = 0; l < there_w; l++)
                        sum += (double)at(&x, ((i * t.stride + k) * t.columns + j * t.stride + l) * channels + c) *
                               at(&w, (k * taps_w + l) * width + f);
                const double found = at(&y, (i * wide + j) * outputs + f);
                if (!(fabs(found - sum) < 2e-4)) fail("transforms", kernels->name, t.rows, t.columns);
            }
    ((float *)m.data)[between(0, outputs - 1)] = between(0, 1) ? NAN : INFINITY;
    if (kernels->winograd.output[t.tile_index](m.data, width, (int)outputs, y.data, wide * outputs, outputs))
        fail("outputs that are not finite", kernels->name, t.rows, t.columns);
    release(x, "x guards", kernels->name);
    release(w, "w guards", kernels->name);
    release(v, "v guards", kernels->name);
    release(u, "u guards", kernels->name);
    release(m, "m guards", kernels->name);
    release(y, "y guards", kernels->name);
}

/* The same transposed: one tile of the input and of the output's gradient, to the gradients of the taps. */
static void test_gradient(const fc_kernels *kernels) {
    const int lanes = kernels->f32.lanes;
    const tile t = any_tile();
    const int64_t high = t.high, wide = t.wide, taps_h = t.taps_h, taps_w = t.taps_w, cells = t.cells;
    const int64_t outputs = between(1, 2 * lanes), whole = (outputs + lanes - 1) / lanes * lanes;
    buffer x = numbers(cells), y = numbers(high * wide * outputs), v = numbers(cells * lanes),
           u = numbers(cells * whole);
    buffer m = numbers(cells * whole), w = numbers(taps_h * taps_w * outputs);
    const void *table[36];
    for (int64_t i = 0; i < cells; i++) table[i] = x.data + (size_t)i * sizeof(float);
    kernels->winograd.input[t.tile_index](table, 1, lanes, v.data, 0, lanes);
    for (int64_t i = 0; i < high * wide; i++) table[i] = y.data + (size_t)(i * outputs) * sizeof(float);
    kernels->winograd.gradient[t.tile_index](table, outputs, whole, u.data, 0, whole);
    for (int64_t i = 0; i < cells; i++)
        for (int64_t f = 0; f < whole; f++)
            ((float *)m.data)[i * whole + f] = at(&v, i * lanes) * at(&u, i * whole + f);
    const int finite =
        kernels->winograd.taps[t.tile_index](m.data, whole, (int)outputs, w.data, taps_w * outputs, outputs);
    if (!finite) fail("finite gradients", kernels->name, t.rows, t.columns);
    for (int64_t k = 0; k < taps_h; k++)
        for (int64_t l = 0; l < taps_w; l++)
            for (int64_t f = 0; f < outputs; f++) {
                double sum = 0;
                for (int64_t i = 0; i < high; i++)
                    for (int64_t j = 0; j < wide; j++)
                        sum += (double)at(&x, (i * t.stride + k) * t.columns + j * t.stride + l) *
                               at(&y, (i * wide + j) * outputs + f);
                const double found = at(&w, (k * taps_w + l) * outputs + f);
                if (!(fabs(found - sum) < 3e-4)) fail("gradients of taps", kernels->name, t.rows, t.columns);
            }
    ((float *)m.data)[between(0, outputs - 1)] = between(0, 1) ? NAN : INFINITY;
    if (kernels->winograd.taps[t.tile_index](m.data, whole, (int)outputs, w.data, taps_w * outputs, outputs))
        fail("gradients that are not finite", kernels->name, t.rows, t.columns);
    release(x, "x guards", kernels->name);
    release(y, "y guards", kernels->name);
    release(v, "v guards", kernels->name);
    release(u, "u guards", kernels->name);
    release(m, "m guards", kernels->name);
    release(w, "w guards", kernels->name);
}

/* A pixel's magnitude as the kernels form it: 16 parts, joined in a tree. */
static float magnitude_of(const fc_kernels *kernels, const float *x, const float *weights, int64_t channels,
                          float alone) {
    float parts[16] = {0}, most = 0;
    for (int64_t c = 0; c < channels; c++) {
        const float size = fabsf(x[c]), product = size * weights[c];
        parts[c % 16] = add_product(kernels, size, weights[c], parts[c % 16]);
        most = product > most ? product : most;
    }
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) parts[i] += parts[i + half];
    return fmaxf(alone * most, parts[0]);
}

static void test_magnitudes(const fc_kernels *kernels) {
    enum { MOST = 40 };
    const int64_t channels = between(1, 100), pixels = between(1, MOST);
    const float alone = (float)between(0, 20);
    buffer x = numbers(pixels * channels), weights = numbers(channels);
    const void *table[MOST];
    float found[MOST + 1];
    found[pixels] = 7;
    for (int64_t c = 0; c < channels; c++) ((float *)weights.data)[c] = fabsf(at(&weights, c));
    for (int64_t i = 0; i < pixels; i++) table[i] = x.data + (size_t)(i * channels) * sizeof(float);
    kernels->winograd.magnitudes(table, pixels, (const float *)weights.data, channels, alone, found);
    for (int64_t i = 0; i < pixels; i++)
        if (found[i] != magnitude_of(kernels, table[i], (const float *)weights.data, channels, alone))
            fail("magnitude", kernels->name, i, channels);
    if (found[pixels] != 7) fail("magnitudes written", kernels->name, pixels, channels);
    const int64_t pixel = between(0, pixels - 1);
    ((float *)x.data)[pixel * channels + between(0, channels - 1)] = -NAN;
    ((float *)weights.data)[0] = 1;
    kernels->winograd.magnitudes(table, pixels, (const float *)weights.data, channels, alone, found);
    for (int64_t i = 0; i < pixels; i++)
        if ((found[i] != found[i]) != (i == pixel)) fail("magnitude of NaN", kernels->name, i, pixel);
    release(x, "x guards", kernels->name);
    release(weights, "weights guards", kernels->name);
}

static void test_tile_magnitudes(const fc_kernels *kernels) {
    const int64_t channels = between(1, 60), rows = between(1, 5), step = between(1, 4), rest = between(0, step);
    const int64_t tiles = between(1, kernels->f32.lanes), columns = tiles * step + rest;
    const int64_t from = between(0, columns - 1), end = between(from + 1, columns);
    buffer x = numbers(rows * (end - from) * channels), weights = numbers(channels);
    float sums[FC_MEASURED_TILES + 1], largest[FC_MEASURED_TILES + 1];
    sums[tiles] = largest[tiles] = 7;
    for (int64_t c = 0; c < channels; c++) ((float *)weights.data)[c] = fabsf(at(&weights, c));
    const uintptr_t first = (uintptr_t)x.data - (uintptr_t)(from * channels) * sizeof(float);
    const fc_tile_row row = {.first = (const float *)first,
                             .row_step = (end - from) * channels,
                             .column_step = channels,
                             .rows = rows,
                             .from = from,
                             .end = end,
                             .step = step,
                             .rest = rest,
                             .tiles = tiles};
    kernels->winograd.tile_magnitudes(&row, (const float *)weights.data, channels, sums, largest);
    for (int64_t t = 0; t < tiles; t++) {
        double sum = 0;
        float most = 0;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = t * step; j < (t + 1) * step + rest; j++)
                for (int64_t c = 0; c < channels && j >= from && j < end; c++) {
                    const float size = fabsf(at(&x, (i * (end - from) + j - from) * channels + c));
                    sum += (double)size * at(&weights, c);
                    most = fmaxf(most, size * at(&weights, c));
                }
        if (fabs(sums[t] - sum) > 1e-5 * sum) fail("sum of a tile", kernels->name, t, channels);
        if (largest[t] != most) fail("largest of a tile", kernels->name, t, channels);
    }
    if (sums[tiles] != 7 || largest[tiles] != 7) fail("tiles written", kernels->name, tiles, channels);
    release(x, "x guards", kernels->name);
    release(weights, "weights guards", kernels->name);
}

static void test_sums_of_columns(const fc_kernels *kernels) {
    const int64_t rows = between(1, 20), columns = 16 * between(1, 5), some = between(1, columns);
    buffer matrix = numbers(rows * columns), factors = numbers(rows), sums = numbers(some), want = numbers(some);
    memcpy(want.data, sums.data, sums.size);
    float least = INFINITY;
    for (int64_t f = 0; f < columns; f++) {
        float sum = 0;
        for (int64_t r = 0; r < rows; r++) {
            const float value = at(&matrix, r * columns + f);
            sum = add_product(kernels, value, at(&factors, r), sum);
            float *const of_sizes = (float *)want.data + f;
            if (f < some) *of_sizes = add_product(kernels, fabsf(value), at(&factors, r), *of_sizes);
        }
        least = sum < least ? sum : least;
    }
    const float *terms = (const float *)matrix.data, *by = (const float *)factors.data;
    if (kernels->winograd.least(terms, columns, rows, by) != least) fail("least", kernels->name, rows, columns);
    kernels->winograd.add_sizes(terms, columns, rows, some, by, (float *)sums.data);
    if (memcmp(sums.data, want.data, want.size)) fail("sizes", kernels->name, rows, some);
    release(matrix, "matrix guards", kernels->name);
    release(factors, "factors guards", kernels->name);
    release(sums, "sums guards", kernels->name);
    release(want, "test", kernels->name);
}

static void test_exponents(const fc_kernels *kernels) {
    const int64_t channels = between(1, 100), cells = between(1, 9);
    buffer x = numbers(cells * channels);
    const void *table[9];
    for (int64_t i = 0; i < cells; i++) table[i] = x.data + (size_t)(i * channels) * sizeof(float);
    const int64_t first = between(0, channels - 1);
    uint8_t found[100];
    kernels->winograd.exponents(table, cells, first, channels - first, found);
    for (int64_t c = first; c < channels; c++) {
        uint32_t want = 0;
        for (int64_t i = 0; i < cells; i++) {
            const uint32_t bits = fc_bits_of_float(at(&x, i * channels + c)) >> 23 & 0xff;
            want = bits > want ? bits : want;
        }
        if (found[c - first] != want) fail("exponents", kernels->name, cells, c);
    }
    release(x, "x guards", kernels->name);
}

int main(int argc, char **argv) {
    const int problems = argc > 1 ? atoi(argv[1]) : 300;
    for (int i = 0; i < fc_kernels_count(); i++) {
        const fc_kernels *kernels = fc_kernels_built(i);
        if (!fc_kernels_supported(i)) continue;
        for (int t = 0; t < problems; t++) {
            test_products(kernels);
            test_transforms(kernels);
            test_gradient(kernels);
            test_magnitudes(kernels);
            test_tile_magnitudes(kernels);
            test_sums_of_columns(kernels);
            test_exponents(kernels);
        }
        printf("%s (%s): %d products, transforms and magnitudes\n", kernels->name,
               kernels->fused ? "fused" : "not fused", problems);
    }
    return 0;
}
