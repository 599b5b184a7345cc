/* The kernels of rows of pixels and channels (depthwise, spatial, kn2row's, copies) on every instruction set that the
 * CPU has, one by one, against one operation at a time, bit for bit.
 *
 * The argument is the number of random problems of each kind. Prints what it ran. */
#include "support.h"

enum { ELEMENT = 8 /* bytes of the widest */ };

/* Element `index` of a buffer of one arithmetic type. */
static void *at(kind k, const buffer *b, int64_t index) { return b->data + index * (k == F64 ? 8 : 4); }

static buffer numbers(kind k, int64_t count) {
    buffer b = allocate((size_t)(count * (k == F64 ? 8 : 4)));
    fill(b.data, k, count);
    return b;
}

static void expect_same(const buffer *found, const buffer *want, const char *what, const fc_kernels *kernels, kind k) {
    for (size_t i = 0; i < want->size; i++)
        if (found->data[i] != want->data[i]) fail(what, kernels->name, k, (int64_t)i);
}

static void release_all(const fc_kernels *kernels, buffer *buffers, int count) {
    for (int i = 0; i < count; i++) release(buffers[i], "guards of a row kernel", kernels->name);
}

/* Adds to a total the sum of a block, which then starts at +0 again. */
static void end_block(kind k, void *sum, void *total) {
    add(k, sum, total);
    memset(sum, 0, ELEMENT);
}

static void test_depthwise(const fc_kernels *kernels, kind k) {
    const int64_t rows = between(1, 5), columns = between(1, 5), outputs = between(1, 20), channels = between(1, 70);
    const int64_t stride = between(1, 3), dilation = between(0, 3) ? 1 : 2;
    const int64_t width = (outputs - 1) * stride + (columns - 1) * dilation + 1;
    buffer x = numbers(k, rows * width * channels), w = numbers(k, rows * columns * channels);
    buffer y = numbers(k, outputs * channels), want = numbers(k, outputs * channels);
    const fc_depthwise_row row = {.x = x.data,
                                  .w = w.data,
                                  .y = y.data,
                                  .rows = rows,
                                  .columns = columns,
                                  .x_row = width * channels,
                                  .x_column = dilation * channels,
                                  .x_step = stride * channels,
                                  .w_row = columns * channels,
                                  .w_column = channels,
                                  .y_step = channels,
                                  .outputs = outputs,
                                  .channels = channels,
                                  .first_block = between(1, rows),
                                  .block_rows = between(1, rows)};
    arithmetic_of(kernels, k)->depthwise(&row);
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t c = 0; c < channels; c++) {
            unsigned char sum[ELEMENT] __attribute__((aligned(8))) = {0},
                                       total[ELEMENT] __attribute__((aligned(8))) = {0};
            for (int64_t i = 0; i < rows; i++) {
                for (int64_t j = 0; j < columns; j++)
                    multiply_add(k, kernels->fused, at(k, &x, (i * width + o * stride + j * dilation) * channels + c),
                                 at(k, &w, (i * columns + j) * channels + c), sum);
                const int64_t after = i + 1 - row.first_block;
                if (i + 1 == rows || (after >= 0 && after % row.block_rows == 0)) end_block(k, sum, total);
            }
            memcpy(at(k, &want, o * channels + c), total, k == F64 ? 8 : 4);
        }
    expect_same(&y, &want, "depthwise row", kernels, k);
    release_all(kernels, (buffer[]){x, w, y, want}, 4);
}

static void test_depthwise_gradient(const fc_kernels *kernels, kind k) {
    const int64_t rows = between(1, 4), columns = between(1, 20), taps = between(1, 8), channels = between(1, 70);
    const int64_t stride = between(1, 3), dilation = between(1, 2);
    const int64_t width = (columns - 1) * stride + (taps - 1) * dilation + 1;
    buffer x = numbers(k, rows * width * channels), dy = numbers(k, rows * columns * channels);
    buffer dw = numbers(k, taps * channels), want = allocate(dw.size);
    memcpy(want.data, dw.data, dw.size);
    const fc_depthwise_gradient rectangle = {.x = x.data,
                                             .dy = dy.data,
                                             .dw = dw.data,
                                             .rows = rows,
                                             .columns = columns,
                                             .taps = taps,
                                             .x_row = width * channels,
                                             .x_step = stride * channels,
                                             .x_column = dilation * channels,
                                             .dy_row = columns * channels,
                                             .dy_step = channels,
                                             .dw_column = channels,
                                             .channels = channels};
    arithmetic_of(kernels, k)->depthwise_gradient(&rectangle);
    for (int64_t j = 0; j < taps; j++)
        for (int64_t c = 0; c < channels; c++) {
            unsigned char sum[ELEMENT] __attribute__((aligned(8))) = {0};
            for (int64_t r = 0; r < rows; r++)
                for (int64_t o = 0; o < columns; o++)
                    multiply_add(k, kernels->fused, at(k, &x, (r * width + o * stride + j * dilation) * channels + c),
                                 at(k, &dy, (r * columns + o) * channels + c), sum);
            add(k, sum, at(k, &want, j * channels + c));
        }
    expect_same(&dw, &want, "depthwise gradient", kernels, k);
    release_all(kernels, (buffer[]){x, dy, dw, want}, 4);
}

static void test_spatial_rows(const fc_kernels *kernels, kind k) {
    static const int64_t usual[][3] = {
        {3, 3, 1}, {3, 3, 3}, {5, 3, 1}}; /* square taps, block and planes known to the kernel */
    const int64_t *known = between(0, 1) ? usual[between(0, 2)] : NULL;
    const int64_t planes = known ? known[2] : between(1, 4), taps = known ? known[0] : between(1, 7);
    const int64_t high = known ? known[0] : between(1, 7), block = known ? known[1] : between(1, high);
    const int64_t first = known ? 0 : between(0, high - 1), end = known ? high : between(first + 1, high);
    const int64_t rows = between(0, 1) ? FC_SPATIAL_ROWS : 1, columns = between(1, 70);
    const fc_arithmetic *arithmetic = arithmetic_of(kernels, k);
    const int64_t pair = 2 * arithmetic->lanes, read = (columns + pair - 1) / pair * pair + taps - 1;
    buffer x = numbers(k, (high + rows - 1) * planes * read), w = numbers(k, high * taps * planes);
    buffer y = numbers(k, rows * columns), want = numbers(k, rows * columns);
    const fc_spatial_rows t = {.x = x.data,
                               .planes = planes,
                               .plane = read,
                               .w = w.data,
                               .y = y.data,
                               .rows = rows,
                               .columns = columns,
                               .taps = taps,
                               .first = first,
                               .end = end,
                               .block = block,
                               .tap_row = planes * read,
                               .y_row = columns};
    arithmetic->spatial_rows(&t);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < columns; o++) {
            unsigned char sum[ELEMENT] __attribute__((aligned(8))) = {0},
                                       total[ELEMENT] __attribute__((aligned(8))) = {0};
            for (int64_t i = first; i < end; i++) {
                for (int64_t j = 0; j < taps; j++)
                    for (int64_t c = 0; c < planes; c++)
                        multiply_add(k, kernels->fused, at(k, &x, ((r + i) * planes + c) * read + o + j),
                                     at(k, &w, (i * taps + j) * planes + c), sum);
                if (i + 1 == end || (i + 1) % block == 0) end_block(k, sum, total);
            }
            memcpy(at(k, &want, r * columns + o), total, k == F64 ? 8 : 4);
        }
    expect_same(&y, &want, "spatial rows", kernels, k);
    release_all(kernels, (buffer[]){x, w, y, want}, 4);
}

static void test_spatial_gradient(const fc_kernels *kernels, kind k) {
    const int64_t rows = between(1, 4), columns = between(1, 70), width = columns + FC_SPATIAL_TAPS - 1;
    const int taps = (int)between(1, FC_SPATIAL_TAPS), outputs = (int)between(1, FC_SPATIAL_OUTPUTS);
    buffer x = numbers(k, rows * width), dy = numbers(k, rows * outputs * columns);
    buffer dw = numbers(k, taps * outputs), want = allocate(dw.size);
    memcpy(want.data, dw.data, dw.size);
    const fc_spatial_gradient gradient = {.x = x.data,
                                          .dy = dy.data,
                                          .rows = rows,
                                          .columns = columns,
                                          .x_row = width,
                                          .dy_row = outputs * columns,
                                          .dy_plane = columns,
                                          .taps = taps,
                                          .outputs = outputs,
                                          .dw = dw.data,
                                          .dw_column = outputs};
    arithmetic_of(kernels, k)->spatial_gradient(&gradient);
    for (int64_t j = 0; j < taps; j++)
        for (int64_t f = 0; f < outputs; f++) {
            unsigned char lanes[FC_SPATIAL_LANES][ELEMENT] __attribute__((aligned(8))) = {{0}};
            for (int64_t r = 0; r < rows; r++)
                for (int64_t o = 0; o < columns; o++)
                    multiply_add(k, kernels->fused, at(k, &x, r * width + o + j),
                                 at(k, &dy, (r * outputs + f) * columns + o), lanes[o % FC_SPATIAL_LANES]);
            for (int step = FC_SPATIAL_LANES / 2; step; step /= 2)
                for (int i = 0; i < step; i++) add(k, lanes[i + step], lanes[i]);
            add(k, lanes[0], at(k, &want, j * outputs + f));
        }
    expect_same(&dw, &want, "spatial gradient", kernels, k);
    release_all(kernels, (buffer[]){x, dy, dw, want}, 4);
}

static void test_sums(const fc_kernels *kernels, kind k) {
    const int64_t count = between(1, 60), taps = between(1, 5), channels = between(1, 6);
    const int64_t pixel = taps * channels; /* products of a pixel: those of all taps */
    buffer products = numbers(k, (count + taps) * pixel), sums = numbers(k, count * channels),
           want = allocate(sums.size);
    memcpy(want.data, sums.data, sums.size);
    arithmetic_of(kernels, k)->add_taps(products.data, pixel, (int)taps, (int)channels, count, sums.data);
    for (int64_t o = 0; o < count; o++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t j = 0; j < taps; j++)
                add(k, at(k, &products, (o + j) * pixel + j * channels + c), at(k, &want, o * channels + c));
    expect_same(&sums, &want, "sums of taps", kernels, k);
    arithmetic_of(kernels, k)->add_sums(products.data, count * channels, sums.data);
    for (int64_t i = 0; i < count * channels; i++) add(k, at(k, &products, i), at(k, &want, i));
    expect_same(&sums, &want, "sums", kernels, k);
    release_all(kernels, (buffer[]){products, sums, want}, 3);
}

/* A sum and what rounding took from it are together as large as the sum and the value were. */
static void test_compensated(const fc_kernels *kernels) {
    const int64_t count = between(1, 60);
    buffer values = numbers(F32, count), sums = numbers(F32, count), rests = numbers(F32, count);
    double *const want = calloc((size_t)count, sizeof *want);
    if (!want) exit(2);
    for (int64_t i = 0; i < count; i++) {
        ((float *)values.data)[i] *= (float)between(1, 1 << 20);
        ((float *)rests.data)[i] = 0;
        want[i] = (double)((float *)values.data)[i] + ((float *)sums.data)[i];
    }
    kernels->f32.add_compensated(values.data, count, sums.data, rests.data);
    for (int64_t i = 0; i < count; i++) {
        const float sum = ((float *)sums.data)[i];
        if (sum != (float)want[i] || (double)sum + ((float *)rests.data)[i] != want[i])
            fail("compensated sum", kernels->name, i, count);
    }
    free(want);
    ((float *)sums.data)[0] = INFINITY;
    const float before = ((float *)rests.data)[0];
    kernels->f32.add_compensated(values.data, 1, sums.data, rests.data);
    if (((float *)rests.data)[0] != before) fail("rest of an infinite sum", kernels->name, 0, count);
    release_all(kernels, (buffer[]){values, sums, rests}, 3);
}

static void test_copies(const fc_kernels *kernels) {
    const int lanes = kernels->f32.lanes;
    const int64_t rows = between(1, 40), columns = between(1, 40), gap = between(0, 3);
    buffer from = numbers(I32, rows * (columns + gap)), to = numbers(I32, columns * (rows + gap)),
           want = allocate(to.size);
    memcpy(want.data, to.data, to.size);
    kernels->transpose_4(from.data, columns + gap, rows, columns, to.data, rows + gap);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            memcpy(at(I32, &want, c * (rows + gap) + r), at(I32, &from, r * (columns + gap) + c), 4);
    expect_same(&to, &want, "transposition", kernels, I32);
    release_all(kernels, (buffer[]){from, to, want}, 3);

    const int times = 1 << between(1, 2), depth = (int)between(1, times); /* of 2 or 4 filters; both divide the lanes */
    const int64_t pixels = between(1, 9), stride = lanes / times * depth + between(0, 3);
    buffer x = numbers(I32, pixels * stride), repeated = numbers(I32, pixels * depth * lanes);
    kernels->repeat_4(x.data, stride, pixels, depth, times, repeated.data);
    for (int64_t p = 0; p < pixels; p++)
        for (int d = 0; d < depth; d++)
            for (int i = 0; i < lanes; i++)
                if (memcmp(at(I32, &repeated, (p * depth + d) * lanes + i),
                           at(I32, &x, p * stride + i / times * depth + d), 4))
                    fail("repeated channels", kernels->name, depth, times);
    release_all(kernels, (buffer[]){x, repeated}, 2);
}

int main(int argc, char **argv) {
    const int problems = argc > 1 ? atoi(argv[1]) : 300;
    for (int i = 0; i < fc_kernels_count(); i++) {
        const fc_kernels *kernels = fc_kernels_built(i);
        if (!fc_kernels_supported(i)) continue;
        for (int t = 0; t < problems; t++) {
            const kind k = (kind)(t % 3);
            test_depthwise(kernels, k);
            test_depthwise_gradient(kernels, k);
            test_spatial_rows(kernels, k);
            test_spatial_gradient(kernels, k);
            test_sums(kernels, k);
            test_compensated(kernels);
            test_copies(kernels);
        }
        printf("%s (%s): %d rows of each kind\n", kernels->name, kernels->fused ? "fused" : "not fused", problems);
    }
    return 0;
}
