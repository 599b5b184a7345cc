/* The C side on its own: every kernel of every instruction set that the CPU has, then whole convolutions.
 *
 * Every buffer is an allocation of its exact size with guard bytes on both sides, so that it is checked with and
 * without a sanitizer. Prints what it ran; exits with 1 at the first failure. */
#include "float_mode.h"
#include "forward.h"
#include "half.h"
#include "pack.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64 };

static uint64_t state = 88172645463325252u;
static uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}
static int64_t between(int64_t low, int64_t high) {
    return low + (int64_t)(next_random() % (uint64_t)(high - low + 1));
}

static void fail(const char *what, const char *isa, int64_t a, int64_t b) {
    printf("FAILED: %s on %s (%lld, %lld)\n", what, isa, (long long)a, (long long)b);
    exit(1);
}

/* A buffer between guards; under AddressSanitizer an allocation of its own, else bytes that are looked at later. */
typedef struct buffer {
    unsigned char *base, *data;
    size_t size;
} buffer;

static buffer allocate(size_t size) {
    buffer b = {.size = size};
#ifdef __SANITIZE_ADDRESS__
    b.base = b.data = malloc(size ? size : 1);
#else
    b.base = malloc(size + 2 * GUARD);
    if (b.base) memset(b.base, 0xa5, size + 2 * GUARD);
    b.data = b.base + GUARD;
#endif
    if (!b.base) exit(2);
    return b;
}

static void release(buffer b, const char *what, const char *isa) {
#ifndef __SANITIZE_ADDRESS__
    for (int i = 0; i < GUARD; i++)
        if (b.base[i] != 0xa5 || b.data[b.size + (size_t)i] != 0xa5) fail(what, isa, i, (int64_t)b.size);
#endif
    free(b.base);
    (void)what, (void)isa;
}

typedef enum kind { F32, F64, I32 } kind;
static const char *const kind_names[] = {"f32", "f64", "i32"};

static void fill(void *data, kind k, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const double value = (double)between(-1000000, 1000000) / 300000;
        if (k == F32) ((float *)data)[i] = (float)value;
        if (k == F64) ((double *)data)[i] = value;
        if (k == I32) ((uint32_t *)data)[i] = (uint32_t)next_random();
    }
}

/* One multiply-add as the kernels do it. */
static void multiply_add(kind k, int fused, const void *a, const void *b, void *sum) {
    if (k == I32) *(uint32_t *)sum += *(const uint32_t *)a * *(const uint32_t *)b;
    if (k == F32) {
        const volatile float product = *(const float *)a * *(const float *)b;
        *(float *)sum = fused ? fmaf(*(const float *)a, *(const float *)b, *(float *)sum) : product + *(float *)sum;
    }
    if (k == F64) {
        const volatile double product = *(const double *)a * *(const double *)b;
        *(double *)sum = fused ? fma(*(const double *)a, *(const double *)b, *(double *)sum) : product + *(double *)sum;
    }
}

static void add(kind k, const void *block, void *sum) {
    if (k == I32) *(uint32_t *)sum += *(const uint32_t *)block;
    if (k == F32) *(float *)sum += *(const float *)block;
    if (k == F64) *(double *)sum += *(const double *)block;
}

static const fc_gemm *gemm_of(const fc_kernels *kernels, kind k) {
    return k == F32 ? &kernels->f32 : k == F64 ? &kernels->f64 : &kernels->i32;
}

/* One tile of every shape, against one sum at a time, bit for bit. */
static int64_t test_gemm(const fc_kernels *kernels, kind k) {
    const fc_gemm *gemm = gemm_of(kernels, k);
    const size_t size = (size_t)gemm->size;
    int64_t tiles = 0;
    for (int rows = 1; rows <= gemm->rows; rows++)
        for (int columns = 1; columns <= 2 * gemm->lanes; columns++, tiles++) {
            const int vectors = columns > gemm->lanes ? 2 : 1, width = vectors * gemm->lanes;
            const int64_t runs = between(1, 3), length = between(1, 19), accumulate = between(0, 1);
            const int64_t stride = columns + between(0, 3), gap = between(0, 2), step = between(1, 3);
            const size_t sums_count = (size_t)((rows - 1) * stride + columns);
            buffer x[3 * 16], filters = allocate((size_t)(runs * (length + gap) - gap) * (size_t)width * size);
            buffer sums = allocate(sums_count * size), expected = allocate(sums_count * size);
            const void *table[3 * 16];
            for (int64_t i = 0; i < runs * rows; i++) {
                x[i] = allocate((size_t)((length - 1) * step + 1) * size);
                fill(x[i].data, k, (length - 1) * step + 1);
                table[i] = x[i].data;
            }
            fill(filters.data, k, (runs * (length + gap) - gap) * width);
            fill(sums.data, k, (int64_t)sums_count);
            memcpy(expected.data, sums.data, sums_count * size);
            for (int m = 0; m < rows; m++)
                for (int f = 0; f < columns; f++) {
                    unsigned char sum[8] __attribute__((aligned(8))) = {0};
                    for (int64_t r = 0; r < runs; r++)
                        for (int64_t t = 0; t < length; t++)
                            multiply_add(k, kernels->fused, x[r * rows + m].data + (size_t)(t * step) * size,
                                         filters.data + (size_t)((r * (length + gap) + t) * width + f) * size, sum);
                    unsigned char *at = expected.data + (size_t)(m * stride + f) * size;
                    if (accumulate) add(k, at, sum);
                    memcpy(at, sum, size);
                }
            const fc_tile tile = {.runs = table,
                                  .run_count = runs,
                                  .run_length = length,
                                  .step = step,
                                  .filters = filters.data,
                                  .filters_stride = width,
                                  .filters_jump = (length + gap) * width,
                                  .sums = sums.data,
                                  .sums_stride = stride,
                                  .columns = columns,
                                  .accumulate = (int)accumulate,
                                  .ahead = (const char *)filters.data};
            (vectors == 2 ? gemm->tile2 : gemm->tile1)[rows - 1](&tile);
            if (memcmp(sums.data, expected.data, sums_count * size)) fail(kind_names[k], kernels->name, rows, columns);
            for (int64_t i = 0; i < runs * rows; i++) release(x[i], "input guards", kernels->name);
            release(filters, "filter guards", kernels->name);
            release(sums, "sum guards", kernels->name);
            release(expected, "test", kernels->name);
        }
    return tiles;
}

static int64_t test_pack(const fc_kernels *kernels, fc_dtype dtype) {
    const fc_gemm *gemm = fc_arithmetic(kernels, dtype);
    const size_t stored = (size_t)fc_dtype_size(dtype), size = (size_t)gemm->size;
    for (int columns = 1; columns <= 2 * gemm->lanes; columns++) {
        const int width = columns > gemm->lanes ? 2 * gemm->lanes : gemm->lanes;
        const int64_t terms = columns % 5 ? between(1, 20) : between(60, 90), layout = between(0, 2);
        const int64_t column = layout == 0 ? 1 : layout == 1 ? terms + between(0, 5) : 2;
        const int64_t row = layout == 0 ? columns + between(0, 5) : layout == 1 ? 1 : column * columns;
        buffer from = allocate((size_t)((terms - 1) * row + (columns - 1) * column + 1) * stored);
        buffer to = allocate((size_t)(terms * width) * size);
        for (size_t i = 0; i < from.size; i++) from.data[i] = (unsigned char)(next_random() & 0x3f);
        fc_pack_panel(kernels, dtype, from.data, row, column, terms, columns, width, to.data);
        for (int64_t t = 0; t < terms; t++)
            for (int f = 0; f < width; f++) {
                unsigned char want[8] __attribute__((aligned(8))) = {0};
                const unsigned char *at = from.data + (size_t)(t * row + f * column) * stored;
                if (f < columns && fc_is_half(dtype)) {
                    uint16_t half;
                    memcpy(&half, at, 2);
                    const float value = dtype == FC_F16 ? f16_value(half) : bf16_value(half);
                    memcpy(want, &value, 4);
                } else if (f < columns) {
                    memcpy(want, at, size);
                }
                if (memcmp(want, to.data + (size_t)(t * width + f) * size, size)) fail("pack", kernels->name, t, f);
            }
        release(from, "pack input guards", kernels->name);
        release(to, "pack guards", kernels->name);
    }
    return 2 * gemm->lanes;
}

/* Both conversions agree with the scalar ones: all 65536 halves, and floats around every rounding boundary. */
static int64_t test_convert(const fc_kernels *kernels) {
    enum { MANY = 65536 + 7 };
    buffer half = allocate(MANY * 2), wide = allocate(MANY * 4), back = allocate(MANY * 2);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        for (int i = 0; i < MANY; i++) ((uint16_t *)half.data)[i] = (uint16_t)i;
        (bf16 ? kernels->bf16_to_f32 : kernels->f16_to_f32)(half.data, wide.data, MANY);
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
            (bf16 ? kernels->f32_to_bf16 : kernels->f32_to_f16)(wide.data, back.data, MANY);
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

static int64_t windows(int64_t size, int64_t taps, int64_t stride, int64_t dilation, int64_t pads) {
    const int64_t rest = size + pads - (taps - 1) * dilation - 1;
    return rest < 0 ? 0 : rest / stride + 1;
}

/* The planner's rule does not matter here, only that any legal one computes the convolution. */
static fc_sum any_sum(const fc_problem *p) {
    const int64_t depth = p->c / p->groups;
    const int folded = depth < 16 && p->kw > 1;
    fc_sum sum = {
        .folded = folded, .runs = folded ? p->kh : p->kh * p->kw, .run_length = folded ? p->kw * depth : depth};
    sum.block_runs = between(1, sum.runs);
    sum.chunk = sum.block_runs == 1 ? between(1, sum.run_length) : sum.run_length;
    return sum;
}

static double element(const buffer *b, fc_dtype dtype, int64_t index) {
    if (dtype == FC_F64) return ((double *)b->data)[index];
    if (dtype == FC_I32) return ((int32_t *)b->data)[index];
    if (dtype == FC_F32) return ((float *)b->data)[index];
    const uint16_t half = ((uint16_t *)b->data)[index];
    return dtype == FC_F16 ? f16_value(half) : bf16_value(half);
}

static void fill_dtype(buffer *b, fc_dtype dtype, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const int value = (int)between(-8, 8); /* small integers: every sum is exact in every type */
        if (dtype == FC_F64) ((double *)b->data)[i] = value;
        if (dtype == FC_I32) ((int32_t *)b->data)[i] = value;
        if (dtype == FC_F32) ((float *)b->data)[i] = (float)value;
        if (fc_is_half(dtype))
            ((uint16_t *)b->data)[i] = dtype == FC_F16 ? f16_round((float)value / 8) : bf16_round((float)value / 8);
    }
}

static fc_tensor tensor_of(void *data, fc_dtype dtype, int64_t h, int64_t w, int64_t c, int first) {
    if (first) return (fc_tensor){data, dtype, c * h * w, w, 1, h * w};
    return (fc_tensor){data, dtype, h * w * c, w * c, c, 1};
}

/* Filters as backprop-input reads them in half of the cases: rotated, with their two depths exchanged. */
static fc_filters any_filters(const buffer *w, fc_dtype dtype, const fc_problem *p) {
    const int64_t depth = p->c / p->groups, width = p->f / p->groups;
    if (between(0, 1)) return (fc_filters){w->data, width, p->kw * depth * p->f, depth * p->f, p->f, 1};
    const int64_t tap = width * p->c, last = (p->kh * p->kw - 1) * tap;
    return (fc_filters){w->data + last * fc_dtype_size(dtype), depth, -p->kw * tap, -tap, 1, p->c};
}

/* One random convolution, in tasks for several numbers of threads, against direct loops. */
static int test_forward(const fc_kernels *kernels) {
    const fc_dtype dtype = (fc_dtype)between(FC_F32, FC_BF16);
    fc_forward call = {.kernels = kernels};
    fc_problem *p = &call.problem;
    const int64_t depthwise = between(0, 4) == 0, any_groups = between(0, 2) ? 1 : between(1, 3);
    const int64_t groups = depthwise ? between(1, 150) : any_groups;
    const int64_t deep = depthwise ? 1 : between(0, 3) ? between(1, 20) : between(30, 200);
    const int simple = between(0, 3) == 0;
    *p = (fc_problem){.n = between(1, 3),
                      .h = between(1, 12),
                      .w = between(1, 40),
                      .c = groups * deep,
                      .kh = between(1, 4),
                      .kw = between(1, 4),
                      .f = groups * between(1, depthwise ? 3
                                               : simple  ? 8
                                                         : 40),
                      .stride_h = simple ? 1 : between(1, 3),
                      .stride_w = simple ? 1 : between(1, 3),
                      .dilation_h = simple ? 1 : between(1, 3),
                      .dilation_w = simple ? 1 : between(1, 3),
                      .pad_top = between(-2, 4),
                      .pad_bottom = between(0, 4),
                      .pad_left = between(-2, 4),
                      .pad_right = between(0, 4),
                      .groups = groups};
    p->oh = windows(p->h, p->kh, p->stride_h, p->dilation_h, p->pad_top + p->pad_bottom);
    p->ow = windows(p->w, p->kw, p->stride_w, p->dilation_w, p->pad_left + p->pad_right);
    if (p->oh < 1 || p->ow < 1) return 0;
    call.sum = any_sum(p);
    const int dense = p->stride_w == 1 && p->dilation_w == 1 && !fc_is_half(dtype);
    if (dense && p->c == 1 && p->f < 16 && call.sum.folded && between(0, 3)) call.lanes = FC_PIXELS;
    if (dense && p->groups == 1 && p->f < 12 && p->stride_h == 1 && p->dilation_h == 1 && between(0, 3)) {
        call.lanes = FC_TAPS;
        call.sum = (fc_sum){0, 1, p->c, 1, between(1, p->c)};
    }
    if (p->groups == p->c) {
        call.lanes = between(0, 3) ? FC_DEPTHWISE : FC_CHANNELS;
        call.sum = (fc_sum){p->kw > 1, p->kh, p->kw, between(1, p->kh), p->kw};
    }
    if (call.lanes == FC_PIXELS) call.sum.chunk = call.sum.run_length;

    const int64_t depth = p->c / groups, width = p->f / groups;
    const int x_first = (int)between(0, 1), y_first = (int)between(0, 1);
    const int64_t x_count = p->n * p->h * p->w * p->c, w_count = p->kh * p->kw * depth * p->f;
    const int64_t gap_h = between(0, 3) ? 1 : 3, gap_w = between(0, 3) ? 1 : 2; /* as where y is a phase of more rows */
    const int64_t y_count = p->n * p->oh * gap_h * p->ow * gap_w * p->f;
    const size_t size = (size_t)fc_dtype_size(dtype);
    buffer x = allocate((size_t)x_count * size), w = allocate((size_t)w_count * size);
    buffer y = allocate((size_t)y_count * size), first_y = allocate((size_t)y_count * size);
    fill_dtype(&x, dtype, x_count);
    fill_dtype(&w, dtype, w_count);
    call.x = tensor_of(x.data, dtype, p->h, p->w, p->c, x_first);
    call.y = tensor_of(y.data, dtype, p->oh * gap_h, p->ow * gap_w, p->f, y_first);
    call.y.stride_h *= gap_h;
    call.y.stride_w *= gap_w;
    call.w = any_filters(&w, dtype, p);
    for (int threads = 1; threads <= 9; threads += 4) {
        memset(y.data, 0x77, y.size);
        fc_forward_split(&call, threads);
        unsigned char *scratch[2]; /* of two threads, which take the tasks as it happens */
        for (int i = 0; i < 2; i++) {
            scratch[i] = aligned_alloc(64, (size_t)(call.scratch_bytes + 63) / 64 * 64);
            if (!scratch[i]) exit(2);
            memset(scratch[i], 0x5a, (size_t)call.scratch_bytes);
            fc_forward_begin(scratch[i]);
        }
        const int64_t start = between(0, call.tasks - 1);
        for (int64_t t = 0; t < call.tasks; t++)
            fc_forward_task(&call, (start + t) % call.tasks, scratch[between(0, 1)]);
        free(scratch[0]);
        free(scratch[1]);
        if (threads == 1)
            memcpy(first_y.data, y.data, y.size);
        else if (memcmp(first_y.data, y.data, y.size))
            fail("threads change the result", kernels->name, threads, call.tasks);
    }
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t oy = 0; oy < p->oh; oy++)
            for (int64_t ox = 0; ox < p->ow; ox++)
                for (int64_t f = 0; f < p->f; f++) {
                    double sum = 0;
                    for (int64_t i = 0; i < p->kh; i++)
                        for (int64_t j = 0; j < p->kw; j++) {
                            const int64_t iy = oy * p->stride_h - p->pad_top + i * p->dilation_h;
                            const int64_t ix = ox * p->stride_w - p->pad_left + j * p->dilation_w;
                            if (iy < 0 || iy >= p->h || ix < 0 || ix >= p->w) continue;
                            for (int64_t c = 0; c < depth; c++) {
                                const int64_t at = n * call.x.stride_n + iy * call.x.stride_h + ix * call.x.stride_w +
                                                   (f / width * depth + c) * call.x.stride_c;
                                const int64_t first = (const unsigned char *)call.w.data - w.data;
                                const int64_t tap = first / (int64_t)size + i * call.w.h + j * call.w.w;
                                sum +=
                                    element(&x, dtype, at) * element(&w, dtype,
                                                                     tap + f / width * call.w.group + c * call.w.depth +
                                                                         f % width * call.w.column);
                            }
                        }
                    const int64_t at =
                        n * call.y.stride_n + oy * call.y.stride_h + ox * call.y.stride_w + f * call.y.stride_c;
                    const double want = dtype == FC_F16    ? f16_value(f16_round((float)sum))
                                        : dtype == FC_BF16 ? bf16_value(bf16_round((float)sum))
                                                           : sum;
                    if (element(&y, dtype, at) != want) fail("convolution", kernels->name, dtype, at);
                    memset(y.data + (size_t)at * size, 0x77, size);
                }
    for (size_t i = 0; i < y.size; i++)
        if (y.data[i] != 0x77) fail("a write between the outputs", kernels->name, dtype, (int64_t)i);
    release(x, "x guards", kernels->name);
    release(w, "w guards", kernels->name);
    release(y, "y guards", kernels->name);
    release(first_y, "test", kernels->name);
    return 1;
}

int main(int argc, char **argv) {
    const int convolutions = argc > 1 ? atoi(argv[1]) : 300;
    for (int i = 0; i < fc_kernels_count(); i++) {
        const fc_kernels *kernels = fc_kernels_built(i);
        if (!fc_kernels_supported(i)) continue;
        int64_t tiles = 0, panels = 0, done = 0;
        for (kind k = F32; k <= I32; k++) tiles += test_gemm(kernels, k);
        for (fc_dtype d = FC_F32; d <= FC_BF16; d++) panels += test_pack(kernels, d);
        const int64_t conversions = test_convert(kernels);
        for (int t = 0; t < convolutions; t++) done += test_forward(kernels);
        printf("%s (%s): %lld tiles, %lld panels, %lld conversions, %lld convolutions\n", kernels->name,
               kernels->fused ? "fused" : "not fused", (long long)tiles, (long long)panels, (long long)conversions,
               (long long)done);
    }
    return 0;
}
