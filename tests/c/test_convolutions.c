/* Whole convolutions and filter gradients on every instruction set that the CPU has, as tasks in any order.
 *
 * The argument is the number of random problems of each kind. Prints what it ran. */
#include "depthwise.h"
#include "depthwise_filter.h"
#include "forward.h"
#include "image_filter.h"
#include "image_gradient.h"
#include "implicit_gemm.h"
#include "narrow_groups.h"
#include "outer_products.h"
#include "pixel_blocks.h"
#include "shapes.h"
#include "support.h"
#include "tap_products.h"
#include "winograd.h"
#include "winograd_gradient.h"

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

/* A small problem of any kind; 0 if it has no output. */
static int any_problem(fc_problem *p, int depthwise) {
    const int64_t any_groups = between(0, 2) ? 1 : between(1, 3);
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
    return p->oh >= 1 && p->ow >= 1;
}

enum {
    MOST_TERMS = 9 * 200 * 150
}; /* of a pixel's sums, which direct loops add up: under sanitizers a second and more */

/* Sums of small integers are exact, but for Winograd's: those of 600 channels and 9 taps are about 2000, and err by
 * 5e-7 of that, ten times as much at most. `taps` is 0 where the sums are not Winograd's. */
static int is_close(const buffer *y, fc_dtype dtype, int64_t at, double sum, int64_t taps) {
    const double found = element(y, dtype, at);
    if (!taps) return found == rounded(dtype, sum);
    const double roundoff = dtype == FC_F32 ? 0x1p-24 : dtype == FC_F16 ? 0x1p-11 : 0x1p-8;
    return fabs(found - sum) <= roundoff * fabs(sum) + 0.05 * fmax(1, (double)taps / 9);
}

/* Makes a problem one that Winograd's tiles can serve; 0 if it has no output. */
static int suit_winograd(fc_problem *p) {
    p->groups = p->dilation_h = p->dilation_w = 1;
    p->stride_h = p->stride_w = between(1, 2);
    const int64_t most = between(0, 3) ? 7 : 15;
    p->kh = p->stride_h == 2 ? 3 : between(1, most);
    p->kw = p->stride_h == 2 ? 3 : between(p->kh == 1 ? 2 : 1, most);
    if (between(0, 1)) p->h += p->kh;
    if (between(0, 3) == 0) p->f = between(65, 150); /* more than one bundle of columns */
    while (p->kh * p->kw * p->c * p->f > MOST_TERMS) *(p->c > p->f ? &p->c : &p->f) /= 2;
    p->oh = windows(p->h, p->kh, p->stride_h, 1, p->pad_top + p->pad_bottom);
    p->ow = windows(p->w, p->kw, p->stride_w, 1, p->pad_left + p->pad_right);
    return p->oh >= 1 && p->ow >= 1;
}

/* A tile for it. */
static fc_winograd any_tile(const fc_problem *p) {
    const int64_t *shape = fc_shapes[p->stride_h == 2 ? 0 : between(0, 8)];
    return (fc_winograd){shape[0], shape[1], 16 * between(1, 3), between(1, 2)};
}

/* One random convolution, in tasks for several numbers of threads, against direct loops. */
static int test_forward(const fc_kernels *kernels, int winograd) {
    fc_dtype dtype = (fc_dtype)between(FC_F32, FC_BF16);
    if (winograd && (dtype == FC_F64 || dtype == FC_I32)) dtype = FC_F32;
    fc_forward call = {.kernels = kernels, .method = &fc_implicit_gemm};
    fc_problem *p = &call.problem;
    if (!any_problem(p, !winograd && between(0, 4) == 0)) return 0;
    if (winograd && !suit_winograd(p)) return 0;
    call.sum = any_sum(p);
    const int dense = p->stride_w == 1 && p->dilation_w == 1 && !winograd;
    const int square = p->stride_h == 1 && p->dilation_h == 1;
    if (dense && (p->c == 1 || (p->c < 6 && p->groups == 1 && square)) && p->f < 16 && call.sum.folded && between(0, 3))
        call.method = &fc_image_filter;
    if (call.method != &fc_image_filter && dense && !fc_is_half(dtype) && p->groups == 1 && p->f < 12 && square &&
        between(0, 3)) {
        call.method = &fc_tap_products;
        call.sum = (fc_sum){0, 1, p->c, 1, between(1, p->c)};
    }
    if (p->groups == p->c && !winograd) {
        call.method = between(0, 3) ? &fc_depthwise : &fc_implicit_gemm;
        call.sum = (fc_sum){p->kw > 1, p->kh, p->kw, between(1, p->kh), p->kw};
    }
    if (p->groups > 1 && p->dilation_w == 1 && dtype != FC_F64 && !winograd && between(0, 1)) {
        const int64_t row = p->kw * (p->c / p->groups);
        call.method = &fc_narrow_groups;
        call.sum = (fc_sum){1, p->kh, row, between(1, p->kh), row};
    }
    if (call.method == &fc_image_filter) call.sum.chunk = call.sum.run_length;
    if (winograd) {
        call.method = &fc_winograd_forward;
        call.winograd = any_tile(p);
    }

    const int64_t depth = p->c / p->groups, width = p->f / p->groups;
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
    const size_t wide = (size_t)fc_arithmetic(kernels, dtype)->size;
    buffer bias = allocate((size_t)p->f * wide), packed = {0}, magnitudes = {0};
    const int weighs = between(0, 3) > 0; /* else tiles are taken as even */
    fill_dtype(&bias, fc_is_half(dtype) ? FC_F32 : dtype, p->f);
    if (between(0, 1)) call.epilogue = (fc_epilogue){bias.data, 0, FC_LINEAR, 0};
    call.epilogue.activation = (fc_activation)between(FC_LINEAR, FC_RELU6);
    if ((call.method == &fc_implicit_gemm || winograd) && between(0, 1)) {
        packed = allocate((size_t)fc_packed_size(&call));
        for (int64_t i = 0; i < fc_pack_tasks(&call); i++) fc_pack(&call, i, packed.data);
        call.packed = packed.data;
    }
    for (int threads = 1; threads <= 9; threads += 4) {
        memset(y.data, 0x77, y.size);
        fc_prepare(&call, threads);
        if (fc_magnitudes_size(&call) && weighs) {
            if (!magnitudes.data) magnitudes = allocate((size_t)fc_magnitudes_size(&call));
            fc_weigh(&call, magnitudes.data);
            call.magnitudes = magnitudes.data;
        }
        if (call.pack_tasks) {
            packed = allocate((size_t)fc_packed_size(&call));
            for (int64_t i = call.pack_tasks - 1; i >= 0; i--) fc_pack(&call, i, packed.data);
            call.packed = packed.data;
        }
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
        if (call.pack_tasks) {
            release(packed, "packed guards", kernels->name);
            call.packed = NULL;
        }
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
                    if (call.epilogue.bias) sum += element(&bias, fc_is_half(dtype) ? FC_F32 : dtype, f);
                    if (call.epilogue.activation != FC_LINEAR && sum < 0) sum = 0;
                    if (call.epilogue.activation == FC_RELU6 && sum > 6) sum = 6;
                    const int64_t at =
                        n * call.y.stride_n + oy * call.y.stride_h + ox * call.y.stride_w + f * call.y.stride_c;
                    if (!is_close(&y, dtype, at, sum, winograd ? p->kh * p->kw : 0))
                        fail("convolution", kernels->name, dtype, at);
                    memset(y.data + (size_t)at * size, 0x77, size);
                }
    for (size_t i = 0; i < y.size; i++)
        if (y.data[i] != 0x77) fail("a write between the outputs", kernels->name, dtype, (int64_t)i);
    if (call.packed) release(packed, "packed guards", kernels->name);
    if (magnitudes.data) release(magnitudes, "magnitudes guards", kernels->name);
    release(bias, "bias guards", kernels->name);
    release(x, "x guards", kernels->name);
    release(w, "w guards", kernels->name);
    release(y, "y guards", kernels->name);
    release(first_y, "test", kernels->name);
    return 1;
}

/* The filter gradient of one random convolution, in tasks for several numbers of threads, against direct loops. */
static int test_backprop_filter(const fc_kernels *kernels, int winograd) {
    fc_dtype dtype = (fc_dtype)between(FC_F32, FC_BF16);
    if (winograd && (dtype == FC_F64 || dtype == FC_I32)) dtype = FC_F32;
    const int depthwise = !winograd && between(0, 2) == 0;
    fc_backprop_filter call = {.forward.kernels = kernels};
    if (!any_problem(&call.forward.problem, depthwise)) return 0;
    if (winograd && !suit_winograd(&call.forward.problem)) return 0;
    const fc_problem *p = &call.forward.problem;
    call.method = depthwise ? &fc_depthwise_filter : &fc_outer_products;
    call.forward.sum = any_sum(p);
    call.pixels = (fc_pixel_sum){between(1, p->oh), between(1, p->ow), 0, 1};
    if (call.pixels.rows > 1) call.pixels.columns = p->ow;
    const int dense = p->stride_h * p->stride_w * p->dilation_h * p->dilation_w * p->groups == 1;
    if (dense && !winograd && between(0, 2)) call.method = &fc_image_filter_gradient;
    int64_t blocks = p->n * ((p->oh - 1) / call.pixels.rows + 1) * ((p->ow - 1) / call.pixels.columns + 1);
    if (winograd) {
        call.method = &fc_winograd_gradient;
        call.forward.winograd = any_tile(p);
        call.pixels = (fc_pixel_sum){between(1, 4), between(1, 40), 0, 1};
        const int64_t high = (p->oh - 1) / call.forward.winograd.rows + 1;
        const int64_t wide = (p->ow - 1) / call.forward.winograd.columns + 1;
        blocks = (p->n * high * wide - 1) / call.pixels.columns + 1;
    }
    call.pixels.slices = between(1, blocks < 9 ? blocks : 9);
    if (!winograd && between(0, 1)) call.pixels.portions = between(1, blocks / call.pixels.slices);

    const int64_t depth = p->c / p->groups, width = p->f / p->groups, w_count = p->kh * p->kw * depth * p->f;
    const size_t size = (size_t)fc_dtype_size(dtype);
    buffer x = allocate((size_t)(p->n * p->h * p->w * p->c) * size);
    buffer y = allocate((size_t)(p->n * p->oh * p->ow * p->f) * size);
    buffer w = allocate((size_t)w_count * size), first_w = allocate((size_t)w_count * size);
    fill_dtype(&x, dtype, p->n * p->h * p->w * p->c);
    fill_dtype(&y, dtype, p->n * p->oh * p->ow * p->f);
    call.forward.x = tensor_of(x.data, dtype, p->h, p->w, p->c, (int)between(0, 1));
    call.forward.y = tensor_of(y.data, dtype, p->oh, p->ow, p->f, (int)between(0, 1));
    call.w = w.data;
    fc_verdict verdict, first = FC_SOUND; /* uneven where some tap meets nothing but padding */
    for (int threads = 1; threads <= 9; threads += 4) {
        memset(w.data, 0x77, w.size);
        fc_prepare_filter(&call, threads);
        unsigned char *scratch[2], *partial = aligned_alloc(64, (size_t)(call.partial_bytes + 64) / 64 * 64);
        if (!partial) exit(2);
        memset(partial, 0x5a, (size_t)call.partial_bytes);
        for (int i = 0; i < 2; i++) {
            scratch[i] = aligned_alloc(64, (size_t)(call.scratch_bytes + 63) / 64 * 64);
            if (!scratch[i]) exit(2);
            memset(scratch[i], between(0, 1) ? 0x5a : 0xff, (size_t)call.scratch_bytes); /* a number, or NaN */
        }
        const int64_t start = between(0, call.tasks - 1);
        for (call.portion = 0; call.portion < call.pixels.portions; call.portion++) {
            for (int64_t t = 0; t < call.tasks; t++)
                fc_filter_task(&call, (start + t) % call.tasks, scratch[between(0, 1)], partial);
            for (int64_t t = call.sums - 1; t >= 0; t--) fc_sum_slices(&call, t, partial);
        }
        verdict = fc_filter_verdict(&call, partial);
        if (verdict == FC_NOT_FINITE || (verdict != FC_SOUND && !winograd) || (verdict != first && threads > 1))
            fail("verdict", kernels->name, threads, verdict);
        first = verdict;
        free(scratch[0]);
        free(scratch[1]);
        free(partial);
        if (threads == 1)
            memcpy(first_w.data, w.data, w.size);
        else if (memcmp(first_w.data, w.data, w.size))
            fail("threads change the filter gradient", kernels->name, threads, call.tasks);
    }
    for (int64_t i = 0; i < p->kh; i++)
        for (int64_t j = 0; j < p->kw; j++)
            for (int64_t c = 0; c < depth; c++)
                for (int64_t f = 0; f < p->f; f++) {
                    double sum = 0;
                    for (int64_t n = 0; n < p->n; n++)
                        for (int64_t oy = 0; oy < p->oh; oy++)
                            for (int64_t ox = 0; ox < p->ow; ox++) {
                                const int64_t iy = oy * p->stride_h - p->pad_top + i * p->dilation_h;
                                const int64_t ix = ox * p->stride_w - p->pad_left + j * p->dilation_w;
                                if (iy < 0 || iy >= p->h || ix < 0 || ix >= p->w) continue;
                                const fc_tensor *a = &call.forward.x, *b = &call.forward.y;
                                sum += element(&x, dtype,
                                               n * a->stride_n + iy * a->stride_h + ix * a->stride_w +
                                                   (f / width * depth + c) * a->stride_c) *
                                       element(&y, dtype,
                                               n * b->stride_n + oy * b->stride_h + ox * b->stride_w + f * b->stride_c);
                            }
                    const int64_t at = ((i * p->kw + j) * depth + c) * p->f + f;
                    if (!is_close(&w, dtype, at, sum, winograd ? 9 : 0))
                        fail("filter gradient", kernels->name, dtype, at);
                }
    release(x, "x guards", kernels->name);
    release(y, "y guards", kernels->name);
    release(w, "w guards", kernels->name);
    release(first_w, "test", kernels->name);
    return 1;
}

/* What tasks of Winograd's take: 16 MB at most, the worst that plans allow, with the tiles of any instruction set. */
static void test_scratch(const fc_kernels *kernels) {
    static const int64_t worst[][6] = {/* height, width, channels, taps, outputs */
                                       {30, 60, 4096, 3, 3, 1024},
                                       {30, 120, 3072, 3, 3, 70},
                                       {38, 40, 160, 15, 13, 40},
                                       {20, 20, 1024, 1, 12, 70}};
    static const char packed;
    for (size_t i = 0; i < sizeof(worst) / sizeof(*worst); i++)
        for (int threads = 1; threads <= 16; threads++) {
            const int64_t h = worst[i][0], w = worst[i][1], c = worst[i][2], kh = worst[i][3], kw = worst[i][4];
            const int64_t oh = h - kh + 1, ow = w - kw + 1, f = worst[i][5];
            fc_forward call = {
                .problem = {.n = 1, .h = h, .w = w, .c = c, .kh = kh, .kw = kw, .f = f, .oh = oh, .ow = ow},
                .sum = {0, kh * kw, c, 1, c},
                .winograd = {kh == 1 ? 1 : 4, 4, 32, 1 + threads % 2},
                .kernels = kernels,
                .method = &fc_winograd_forward,
                .x = {NULL, FC_F16, h * w * c, w * c, c, 1},
                .y = {NULL, FC_F16, oh * ow * f, ow * f, f, 1},
                .w = {NULL, 0, kw * c * f, c * f, f, 1},
                .packed = threads % 4 < 2 ? NULL : &packed};
            call.problem.stride_h = call.problem.stride_w = call.problem.dilation_h = call.problem.dilation_w = 1;
            call.problem.groups = 1;
            fc_prepare(&call, threads);
            if (call.scratch_bytes > 16 << 20) fail("scratch", kernels->name, call.scratch_bytes, (int64_t)i);
        }
}

/* The same of filter gradients, by tiles and by outer products; then for images of the most channels that plans allow.
 */
static void test_scratch_of_gradients(const fc_kernels *kernels) {
    static const int64_t worst[][5] = {/* size, channels, taps along both axes, outputs */
                                       {40, 1024, 3, 3, 1024},
                                       {60, 300, 15, 15, 256},
                                       {30, 1024, 15, 1, 200},
                                       {300, 64, 5, 5, 64}};
    for (size_t i = 0; i < sizeof(worst) / sizeof(*worst); i++)
        for (int threads = 1; threads <= 16; threads++) {
            const int64_t h = worst[i][0], c = worst[i][1], kh = worst[i][2], kw = worst[i][3], f = worst[i][4];
            const int64_t oh = h - kh + 1, ow = h - kw + 1;
            fc_backprop_filter call = {
                .forward = {.problem = {.n = 9, .h = h, .w = h, .c = c, .kh = kh, .kw = kw, .f = f, .oh = oh, .ow = ow},
                            .sum = {0, kh * kw, c, 1, c},
                            .winograd = {4, kw == 1 ? 1 : 4, 16, 1},
                            .kernels = kernels,
                            .x = {NULL, FC_F16, h * h * c, h * c, c, 1},
                            .y = {NULL, FC_F16, oh * ow * f, ow * f, f, 1}},
                .pixels = {4, 32, 1, 1}};
            fc_problem *p = &call.forward.problem;
            p->stride_h = p->stride_w = p->dilation_h = p->dilation_w = p->groups = 1;
            for (int direct = 0; direct < 2; direct++) {
                call.method = direct ? &fc_outer_products : &fc_winograd_gradient;
                if (direct) call.pixels = (fc_pixel_sum){1, 128, 1, 1};
                fc_prepare_filter(&call, threads);
                if (call.scratch_bytes > 16 << 20) fail("scratch", kernels->name, call.scratch_bytes, (int64_t)i);
            }
        }
    fc_backprop_filter image = {
        .method = &fc_image_filter_gradient,
        .forward = {.problem = {1, 90, 2000, 16, 15, 15, 64, 90, 2000, 1, 1, 1, 1, 7, 7, 7, 7, 1}, .kernels = kernels},
        .pixels = {1, 1024, 4, 1}};
    fc_prepare_filter(&image, 2);
    if (image.scratch_bytes > 16 << 20) fail("scratch of images", kernels->name, image.scratch_bytes, 0);
}

int main(int argc, char **argv) {
    const int problems = argc > 1 ? atoi(argv[1]) : 300;
    for (int i = 0; i < fc_kernels_count(); i++) {
        const fc_kernels *kernels = fc_kernels_built(i);
        test_scratch(kernels);
        test_scratch_of_gradients(kernels);
        if (!fc_kernels_supported(i)) continue;
        int forward = 0, gradients = 0;
        for (int t = 0; t < problems; t++) forward += test_forward(kernels, t % 3 == 0);
        for (int t = 0; t < problems; t++) gradients += test_backprop_filter(kernels, t % 3 == 0);
        printf("%s (%s): %d convolutions, %d filter gradients\n", kernels->name, kernels->fused ? "fused" : "not fused",
               forward, gradients);
    }
    return 0;
}
