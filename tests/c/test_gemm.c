/* The matrix micro-kernel, packing and conversions on every instruction set that the CPU has. Prints what it ran. */
#include "support.h"

/* One or two tiles of every shape, against one sum at a time, bit for bit. */
static int64_t test_gemm(const fc_kernels *kernels, kind k) {
    const fc_arithmetic *gemm = arithmetic_of(kernels, k);
    const size_t size = (size_t)gemm->size;
    int64_t shapes = 0;
    for (int rows = 1; rows <= gemm->mr; rows++)
        for (int columns = 1; columns <= gemm->nr; columns++, shapes++) {
            const int vectors = columns > gemm->lanes ? 2 : 1, width = vectors * gemm->lanes;
            const int64_t tiles = between(1, 2), pixels = tiles * rows;
            const int64_t runs = between(1, 3), length = between(1, 19), accumulate = between(0, 1);
            const int64_t stride = columns + between(0, 3), step = between(1, 3), pieces = between(0, 1);
            const int64_t block_runs = pieces ? 1 : between(1, 3), chunk = pieces ? between(1, length) : length;
            const int64_t gap = pieces ? 0 : between(0, 2);
            const size_t sums_count = (size_t)((pixels - 1) * stride + columns);
            buffer x[2 * 3 * 16], filters = allocate((size_t)(runs * (length + gap) - gap) * (size_t)width * size);
            buffer sums = allocate(sums_count * size), expected = allocate(sums_count * size);
            const void *table[2 * 3 * 16];
            for (int64_t i = 0; i < runs * pixels; i++) {
                x[i] = allocate((size_t)((length - 1) * step + 1) * size);
                fill(x[i].data, k, (length - 1) * step + 1);
                table[i] = x[i].data;
            }
            fill(filters.data, k, (runs * (length + gap) - gap) * width);
            fill(sums.data, k, (int64_t)sums_count);
            memcpy(expected.data, sums.data, sums_count * size);
            for (int64_t m = 0; m < pixels; m++)
                for (int f = 0; f < columns; f++) {
                    unsigned char sum[8] __attribute__((aligned(8))) = {0};
                    unsigned char *at = expected.data + (size_t)(m * stride + f) * size;
                    int64_t add_to = accumulate;
                    for (int64_t r = 0; r < runs; r++)
                        for (int64_t t = 0; t < length; t++) {
                            const buffer *of = &x[(m / rows * runs + r) * rows + m % rows];
                            multiply_add(k, kernels->fused, of->data + (size_t)(t * step) * size,
                                         filters.data + (size_t)((r * (length + gap) + t) * width + f) * size, sum);
                            const int ends_run = t + 1 == length, ends_all = ends_run && r + 1 == runs;
                            if (!(ends_all || (ends_run && (r + 1) % block_runs == 0) || (t + 1) % chunk == 0))
                                continue;
                            if (!(ends_run && (r + 1) % block_runs != 0 && !ends_all)) {
                                if (add_to) add(k, at, sum);
                                memcpy(at, sum, size);
                                memset(sum, 0, sizeof sum);
                                add_to = 1;
                            }
                        }
                }
            const fc_tiles call = {.count = tiles,
                                   .batch = table,
                                   .batch_size = runs,
                                   .k = length,
                                   .block_runs = block_runs,
                                   .chunk = chunk,
                                   .step = step,
                                   .filters = filters.data,
                                   .filters_stride = width,
                                   .filters_skip = gap * width,
                                   .sums = sums.data,
                                   .sums_stride = stride,
                                   .columns = columns,
                                   .accumulate = (int)accumulate,
                                   .prefetch = (const char *)filters.data};
            (vectors == 2 ? gemm->tile2 : gemm->tile1)[rows - 1](&call);
            if (memcmp(sums.data, expected.data, sums_count * size)) fail(kind_names[k], kernels->name, rows, columns);
            for (int64_t i = 0; i < runs * pixels; i++) release(x[i], "input guards", kernels->name);
            release(filters, "filter guards", kernels->name);
            release(sums, "sum guards", kernels->name);
            release(expected, "test", kernels->name);
        }
    return shapes;
}

static int64_t test_pack(const fc_kernels *kernels, fc_dtype dtype) {
    const fc_arithmetic *gemm = fc_arithmetic_of(kernels, dtype);
    const size_t stored = (size_t)fc_dtype_size(dtype), size = (size_t)gemm->size;
    const int most = 5 * gemm->lanes; /* columns: three panels, the last of them incomplete */
    for (int columns = 1; columns <= most; columns++) {
        const int width = columns > gemm->lanes ? 2 * gemm->lanes : gemm->lanes, panels = (columns - 1) / width + 1;
        const int64_t terms = columns % 5 ? between(1, 20) : between(60, 90), layout = between(0, 2);
        const int64_t column = layout == 0 ? 1 : layout == 1 ? terms + between(0, 5) : 2;
        const int64_t row = layout == 0 ? columns + between(0, 5) : layout == 1 ? 1 : column * columns;
        buffer from = allocate((size_t)((terms - 1) * row + (columns - 1) * column + 1) * stored);
        const int64_t panel = terms * width + (panels > 1 ? between(0, 9) : 0);
        buffer to = allocate((size_t)((panels - 1) * panel + terms * width) * size);
        for (size_t i = 0; i < from.size; i++) from.data[i] = (unsigned char)(next_random() & 0x3f);
        const fc_matrix filters = fc_matrix_of(from.data, terms, columns, row, column);
        fc_pack_panels(kernels, dtype, &filters, width, to.data, panel);
        for (int64_t t = 0; t < terms; t++)
            for (int f = 0; f < panels * width; f++) {
                unsigned char want[8] __attribute__((aligned(8))) = {0};
                const unsigned char *at = from.data + (size_t)(t * row + f * column) * stored;
                if (f < columns && fc_is_converted(dtype)) {
                    uint16_t half;
                    memcpy(&half, at, 2);
                    const float value = dtype == FC_F16 ? f16_value(half) : bf16_value(half);
                    memcpy(want, &value, 4);
                } else if (f < columns) {
                    memcpy(want, at, size);
                }
                const int64_t packed = f / width * panel + t * width + f % width;
                if (memcmp(want, to.data + (size_t)packed * size, size)) fail("pack", kernels->name, t, f);
            }
        release(from, "pack input guards", kernels->name);
        release(to, "pack guards", kernels->name);
    }
    return most;
}

/* Both conversions agree with the scalar ones: all 65536 halves, and floats around every rounding boundary. */
static int64_t test_convert(const fc_kernels *kernels) {
    enum { MANY = 65536 + 7 };
    buffer half = allocate(MANY * 2), wide = allocate(MANY * 4), back = allocate(MANY * 2);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const fc_conversion *conversion = &kernels->conversions[bf16 ? FC_BF16 : FC_F16];
        for (int i = 0; i < MANY; i++) ((uint16_t *)half.data)[i] = (uint16_t)i;
        conversion->widen(half.data, wide.data, MANY);
        for (int i = 0; i < MANY; i++) {
            const float want = bf16 ? bf16_value((uint16_t)i) : f16_value((uint16_t)i);
            if (memcmp(&want, wide.data + 4 * i, 4)) fail("widening a half", kernels->name, i, bf16);
        }
        for (int round = 0; round < 24; round++) {
            for (int i = 0; i < MANY; i++) { /* near a half or halfway between two, or anything */
                uint32_t bits = fc_bits_of_float(((float *)wide.data)[i]);
                bits += round < 12 ? (uint32_t)between(-3, 3) << (round % 3 ? 0 : 12) : (uint32_t)next_random();
                ((float *)wide.data)[i] = fc_float_of_bits(bits);
            }
            conversion->narrow(wide.data, back.data, MANY);
            for (int i = 0; i < MANY; i++) {
                const float value = ((float *)wide.data)[i];
                const uint16_t want = bf16 ? bf16_round(value) : f16_round(value);
                const uint16_t got = ((uint16_t *)back.data)[i];
                if (want != got && value == value) fail("narrowing a float", kernels->name, want, got);
                if (value != value && (got & 0x7fff) <= (bf16 ? 0x7f80 : 0x7c00)) fail("a NaN", kernels->name, i, got);
            }
        }
    }
    release(half, "half guards", kernels->name);
    release(wide, "float guards", kernels->name);
    release(back, "narrow guards", kernels->name);
    return 2 * 25 * (int64_t)MANY;
}

int main(void) {
    for (int i = 0; i < fc_kernels_count(); i++) {
        const fc_kernels *kernels = fc_kernels_built(i);
        if (!fc_kernels_supported(i)) continue;
        int64_t tiles = 0, panels = 0;
        for (kind k = F32; k <= I32; k++) tiles += test_gemm(kernels, k);
        for (fc_dtype d = FC_F32; d <= FC_BF16; d++) panels += test_pack(kernels, d);
        const int64_t conversions = test_convert(kernels);
        printf("%s (%s): %lld tiles, %lld panels, %lld conversions\n", kernels->name,
               kernels->fused ? "fused" : "not fused", (long long)tiles, (long long)panels, (long long)conversions);
    }
    return 0;
}
