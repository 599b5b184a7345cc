/* Whole convolutions by every method, on every instruction set that the CPU has, as tasks in any order.
 *
 * The argument is the number of random problems. Prints what it ran. */
#include "conv/forward.h"
#include "conv/depthwise.h"
#include "conv/implicit_gemm.h"
#include "conv/kn2row.h"
#include "conv/narrow_groups.h"
#include "conv/pointwise.h"
#include "conv/spatial.h"
#include "convolutions.h"
#include "winograd/forward.h"

/* One random convolution, in tasks for several numbers of threads, against direct loops. */
static int test_forward(const fc_kernels *kernels, int winograd) {
    fc_dtype dtype = (fc_dtype)between(FC_F32, FC_BF16);
    if (winograd && (dtype == FC_F64 || dtype == FC_I32)) dtype = FC_F32;
    fc_forward call = {.kernels = kernels, .method = &fc_implicit_gemm_method};
    fc_problem *p = &call.problem;
    if (!any_problem(p, !winograd && between(0, 4) == 0)) return 0;
    if (winograd && !suit_winograd(p)) return 0;
    call.sum = any_sum(p);
    const int dense = p->stride_w == 1 && p->dilation_w == 1 && !winograd;
    const int square = p->stride_h == 1 && p->dilation_h == 1;
    if (dense && (p->c == 1 || (p->c < 6 && p->groups == 1 && square)) && p->f < 16 && call.sum.folded && between(0, 3))
        call.method = &fc_spatial_method;
    if (call.method != &fc_spatial_method && dense && !fc_is_converted(dtype) && p->groups == 1 && p->f < 12 &&
        square && between(0, 3)) {
        call.method = &fc_kn2row_method;
        call.sum = (fc_sum){0, 1, p->c, 1, between(1, p->c)};
    }
    if (p->groups == p->c && !winograd) {
        call.method = between(0, 3) ? &fc_depthwise_method : &fc_implicit_gemm_method;
        call.sum = (fc_sum){p->kw > 1, p->kh, p->kw, between(1, p->kh), p->kw};
    }
    if (p->groups > 1 && p->dilation_w == 1 && dtype != FC_F64 && !winograd && between(0, 1)) {
        const int64_t row = p->kw * (p->c / p->groups);
        call.method = &fc_narrow_groups_method;
        call.sum = (fc_sum){1, p->kh, row, between(1, p->kh), row};
    }
    if (call.method == &fc_spatial_method) call.sum.chunk = call.sum.run_length;
    if (!winograd && call.method == &fc_implicit_gemm_method && between(0, 5) == 0) {
        call.method = &fc_pointwise_method;
        p->kh = p->kw = p->stride_h = p->stride_w = p->dilation_h = p->dilation_w = 1;
        p->pad_top = p->pad_bottom = p->pad_left = p->pad_right = 0;
        p->oh = p->h;
        p->ow = p->w;
        call.sum = any_sum(p);
    }
    if (winograd) {
        call.method = &fc_winograd_method;
        call.tile = any_tile(p);
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
    const size_t wide = (size_t)fc_arithmetic_of(kernels, dtype)->size;
    buffer bias = allocate((size_t)p->f * wide), packed = {0}, magnitudes = {0};
    const int checks = between(0, 3) > 0; /* tiles for outliers */
    fill_dtype(&bias, fc_is_converted(dtype) ? FC_F32 : dtype, p->f);
    if (between(0, 1)) call.epilogue = (fc_epilogue){bias.data, 0, FC_LINEAR, 0};
    call.epilogue.activation = (fc_activation)between(FC_LINEAR, FC_RELU6);
    if ((call.method == &fc_implicit_gemm_method || winograd) && between(0, 1)) {
        packed = allocate((size_t)fc_packed_size(&call));
        for (int64_t i = 0; i < fc_pack_tasks(&call); i++) fc_pack(&call, i, packed.data);
        call.packed = packed.data;
    }
    const fc_problem problem = call.problem;
    for (int threads = 1; threads <= 9; threads += 4) {
        memset(y.data, 0x77, y.size);
        call.problem = problem; /* pointwise makes one row of pixels of it */
        fc_prepare(&call, threads);
        if (fc_magnitudes_size(&call) && checks) {
            if (!magnitudes.data) magnitudes = allocate((size_t)fc_magnitudes_size(&call));
            fc_measure(&call, magnitudes.data);
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
    call.problem = problem;
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
                    if (call.epilogue.bias) sum += element(&bias, fc_is_converted(dtype) ? FC_F32 : dtype, f);
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
                .tile = {kh == 1 ? 1 : 4, 4, 32, 1 + threads % 2},
                .kernels = kernels,
                .method = &fc_winograd_method,
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

int main(int argc, char **argv) {
    const int problems = argc > 1 ? atoi(argv[1]) : 300;
    for (int i = 0; i < fc_kernels_count(); i++) {
        const fc_kernels *kernels = fc_kernels_built(i);
        test_scratch(kernels);
        if (!fc_kernels_supported(i)) continue;
        int done = 0;
        for (int t = 0; t < problems; t++) done += test_forward(kernels, t % 3 == 0);
        printf("%s (%s): %d convolutions\n", kernels->name, kernels->fused ? "fused" : "not fused", done);
    }
    return 0;
}
