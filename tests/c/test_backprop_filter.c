/* Gradients of filters by every method, on every instruction set that the CPU has, as tasks in any order.
 *
 * The argument is the number of random problems. Prints what it ran. */
#include "conv/backprop_filter.h"
#include "conv/depthwise_gradient.h"
#include "conv/outer_products.h"
#include "conv/pixel_blocks.h"
#include "conv/spatial_gradient.h"
#include "convolutions.h"
#include "winograd/backprop_filter.h"

/* The filter gradient of one random convolution, in tasks for several numbers of threads, against direct loops. */
static int test_backprop_filter(const fc_kernels *kernels, int winograd) {
    fc_dtype dtype = (fc_dtype)between(FC_F32, FC_BF16);
    if (winograd && (dtype == FC_F64 || dtype == FC_I32)) dtype = FC_F32;
    const int depthwise = !winograd && between(0, 2) == 0;
    fc_backprop_filter call = {.kernels = kernels};
    if (!any_problem(&call.problem, depthwise)) return 0;
    if (winograd && !suit_winograd(&call.problem)) return 0;
    const fc_problem *p = &call.problem;
    call.method = depthwise ? &fc_depthwise_filter_method : &fc_outer_products_filter_method;
    call.sum = any_sum(p);
    call.pixels = (fc_pixel_sum){between(1, p->oh), between(1, p->ow), 0, 1};
    if (call.pixels.rows > 1) call.pixels.columns = p->ow;
    const int dense = p->stride_h * p->stride_w * p->dilation_h * p->dilation_w * p->groups == 1;
    if (dense && !winograd && between(0, 2)) call.method = &fc_spatial_filter_method;
    int64_t blocks = p->n * ((p->oh - 1) / call.pixels.rows + 1) * ((p->ow - 1) / call.pixels.columns + 1);
    if (winograd) {
        call.method = &fc_winograd_filter_method;
        call.tile = any_tile(p);
        call.pixels = (fc_pixel_sum){between(1, 4), between(1, 40), 0, 1};
        const int64_t high = (p->oh - 1) / call.tile.rows + 1;
        const int64_t wide = (p->ow - 1) / call.tile.columns + 1;
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
    call.x = tensor_of(x.data, dtype, p->h, p->w, p->c, (int)between(0, 1));
    call.dy = tensor_of(y.data, dtype, p->oh, p->ow, p->f, (int)between(0, 1));
    call.dw = w.data;
    fc_outcome outcome, first = FC_SOUND; /* outliers where some tap meets nothing but padding */
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
            for (int64_t t = call.sum_tasks - 1; t >= 0; t--) fc_sum_slices(&call, t, partial);
        }
        outcome = fc_filter_outcome(&call, partial);
        if (outcome == FC_REPLACE_NOT_FINITE || (outcome != FC_SOUND && !winograd) || (outcome != first && threads > 1))
            fail("outcome", kernels->name, threads, outcome);
        first = outcome;
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
                                const fc_tensor *a = &call.x, *b = &call.dy;
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

/* What tasks take, by tiles and by outer products: 16 MB at most. Then for images of the most channels that plans
 * allow.
 */
static void test_scratch(const fc_kernels *kernels) {
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
                .kernels = kernels,
                .problem = {.n = 9, .h = h, .w = h, .c = c, .kh = kh, .kw = kw, .f = f, .oh = oh, .ow = ow},
                .sum = {0, kh * kw, c, 1, c},
                .tile = {4, kw == 1 ? 1 : 4, 16, 1},
                .x = {NULL, FC_F16, h * h * c, h * c, c, 1},
                .dy = {NULL, FC_F16, oh * ow * f, ow * f, f, 1},
                .pixels = {4, 32, 1, 1}};
            fc_problem *p = &call.problem;
            p->stride_h = p->stride_w = p->dilation_h = p->dilation_w = p->groups = 1;
            for (int direct = 0; direct < 2; direct++) {
                call.method = direct ? &fc_outer_products_filter_method : &fc_winograd_filter_method;
                if (direct) call.pixels = (fc_pixel_sum){1, 128, 1, 1};
                fc_prepare_filter(&call, threads);
                if (call.scratch_bytes > 16 << 20) fail("scratch", kernels->name, call.scratch_bytes, (int64_t)i);
            }
        }
    fc_backprop_filter image = {.method = &fc_spatial_filter_method,
                                .kernels = kernels,
                                .problem = {1, 90, 2000, 16, 15, 15, 64, 90, 2000, 1, 1, 1, 1, 7, 7, 7, 7, 1},
                                .pixels = {1, 1024, 4, 1}};
    fc_prepare_filter(&image, 2);
    if (image.scratch_bytes > 16 << 20) fail("scratch of images", kernels->name, image.scratch_bytes, 0);
}

int main(int argc, char **argv) {
    const int problems = argc > 1 ? atoi(argv[1]) : 300;
    for (int i = 0; i < fc_kernels_count(); i++) {
        const fc_kernels *kernels = fc_kernels_built(i);
        test_scratch(kernels);
        if (!fc_kernels_supported(i)) continue;
        int done = 0;
        for (int t = 0; t < problems; t++) done += test_backprop_filter(kernels, t % 3 == 0);
        printf("%s (%s): %d gradients of filters\n", kernels->name, kernels->fused ? "fused" : "not fused", done);
    }
    return 0;
}
