/* Pools, their gradients, and epilogues of whole tensors, on every instruction set, as tasks in any order.
 *
 * The argument is the number of random problems of each kind. Prints what it ran. */
#include "layers/epilogue.h"
#include "layers/pool.h"
#include "support.h"

static int same(double a, double b) { return a == b || (a != a && b != b); }

static double get(const buffer *b, fc_dtype dtype, int64_t i) {
    return dtype == FC_F32 ? ((float *)b->data)[i] : ((double *)b->data)[i];
}

static void set(buffer *b, fc_dtype dtype, int64_t i, double value) {
    if (dtype == FC_F32)
        ((float *)b->data)[i] = (float)value;
    else
        ((double *)b->data)[i] = value;
}

/* Small integers, some of them equal, and now and then a NaN. */
static buffer numbers(fc_dtype dtype, int64_t count, int nans) {
    buffer b = allocate((size_t)(count * fc_dtype_size(dtype)));
    for (int64_t i = 0; i < count; i++) set(&b, dtype, i, nans && !between(0, 30) ? NAN : (double)between(-9, 9) * 12);
    return b;
}

static void run(fc_pool *call, int threads) {
    fc_pool_split(call, threads);
    const int64_t start = between(0, call->tasks - 1);
    for (int64_t t = 0; t < call->tasks; t++) fc_pool_task(call, (start + t) % call->tasks);
}

/* A pool and its gradient, for one thread and for many, against direct loops. */
static int test_pool(const fc_kernels *kernels) {
    fc_pool call = {.kernels = kernels,
                    .dtype = between(0, 1) ? FC_F32 : FC_F64,
                    .average = (int)between(0, 1),
                    .n = between(1, 3),
                    .h = between(1, 9),
                    .w = between(1, 9),
                    .c = between(0, 2) ? between(1, 40) : between(60, 150),
                    .kh = between(1, 4),
                    .kw = between(1, 4),
                    .stride_h = between(1, 3),
                    .stride_w = between(1, 3)};
    call.pad_top = between(0, call.kh - 1);
    call.pad_left = between(0, call.kw - 1);
    const int64_t rest_h = call.h + call.pad_top - call.kh, rest_w = call.w + call.pad_left - call.kw;
    if (rest_h < 0 || rest_w < 0) return 0;
    call.oh = rest_h / call.stride_h + 1;
    call.ow = rest_w / call.stride_w + 1;
    const fc_dtype dtype = call.dtype;
    const int64_t cells = call.n * call.h * call.w * call.c, results = call.n * call.oh * call.ow * call.c;
    buffer x = numbers(dtype, cells, 1), dy = numbers(dtype, results, 0);
    buffer y = numbers(dtype, results, 0), dx = numbers(dtype, cells, 0);
    double *want = calloc((size_t)cells, sizeof *want);
    if (!want) exit(2);
    call.x = (fc_tensor){x.data, dtype, call.h * call.w * call.c, call.w * call.c, call.c, 1};
    call.y = y.data;
    call.dy = dy.data;
    call.dx = dx.data;
    for (int threads = 1; threads <= 5; threads += 4) {
        memset(y.data, 0x77, y.size);
        memset(dx.data, 0, dx.size);
        memset(want, 0, (size_t)cells * sizeof *want);
        call.gradient = 0;
        run(&call, threads);
        call.gradient = 1;
        run(&call, threads);
        for (int64_t at = 0; at < results; at++) {
            const int64_t c = at % call.c, ox = at / call.c % call.ow, oy = at / call.c / call.ow % call.oh;
            const int64_t n = at / call.c / call.ow / call.oh;
            double largest = -INFINITY, sum = 0;
            int64_t count = 0, place = -1;
            for (int pass = 0; pass < 2; pass++)
                for (int64_t i = 0; i < call.kh; i++)
                    for (int64_t j = 0; j < call.kw; j++) {
                        const int64_t iy = oy * call.stride_h - call.pad_top + i;
                        const int64_t ix = ox * call.stride_w - call.pad_left + j;
                        if (iy < 0 || iy >= call.h || ix < 0 || ix >= call.w) continue;
                        const int64_t cell = ((n * call.h + iy) * call.w + ix) * call.c + c;
                        const double value = get(&x, dtype, cell);
                        if (pass == 1 && call.average) {
                            const double share = get(&dy, dtype, at);
                            want[cell] += dtype == FC_F32 ? (float)share / (float)count : share / (double)count;
                        }
                        if (pass == 1) continue;
                        sum += value, count++;
                        if (place < 0 || value > largest || (value != value && largest == largest))
                            largest = value, place = cell;
                    }
            if (!call.average) want[place] += get(&dy, dtype, at);
            const double mean = dtype == FC_F32 ? (float)sum / (float)count : sum / (double)count;
            if (!same(get(&y, dtype, at), call.average ? mean : largest)) fail("pool", kernels->name, threads, at);
        }
        for (int64_t i = 0; i < cells; i++)
            if (fabs(get(&dx, dtype, i) - want[i]) > 1e-4) /* of sums of up to 16 hundreds */
                fail("pool gradient", kernels->name, threads, i);
    }
    free(want);
    release(x, "x guards", kernels->name);
    release(y, "y guards", kernels->name);
    release(dy, "dy guards", kernels->name);
    release(dx, "dx guards", kernels->name);
    return 1;
}

/* Bias, of rows or columns, and relu, of any dtype, in place or not. */
static void test_epilogue_pass(const fc_kernels *kernels) {
    const fc_dtype dtype = (fc_dtype)between(FC_F32, FC_BF16), wide = fc_is_converted(dtype) ? FC_F32 : dtype;
    const int64_t rows = between(1, 60), columns = between(0, 2) ? between(1, 90) : between(4000, 5000);
    const int of_rows = (int)between(0, 1), biased = (int)between(0, 1);
    const int64_t biases = of_rows ? between(1, rows) : columns;
    const size_t size = (size_t)(rows * columns * fc_dtype_size(dtype));
    buffer from = allocate(size), to = allocate(size), bias = allocate((size_t)(biases * fc_dtype_size(wide)));
    fill_dtype(&from, dtype, rows * columns);
    fill_dtype(&bias, wide, biases);
    fc_epilogue_pass call = {
        .kernels = kernels,
        .dtype = dtype,
        .epilogue = {biased ? bias.data : NULL, of_rows, (fc_activation)between(FC_LINEAR, FC_RELU6)},
        .biases = biases,
        .elements = rows * columns,
        .columns = columns,
        .source = from.data,
        .result = to.data};
    if (between(0, 1)) {
        memcpy(to.data, from.data, size);
        call.source = to.data;
    }
    fc_epilogue_pass_split(&call);
    for (int64_t t = call.tasks - 1; t >= 0; t--) fc_epilogue_pass_task(&call, t);
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t index = of_rows ? i / columns % biases : i % columns;
        double value = element(&from, dtype, i) + (biased ? element(&bias, wide, index) : 0);
        if (call.epilogue.activation != FC_LINEAR && value < 0) value = 0;
        if (call.epilogue.activation == FC_RELU6 && value > 6) value = 6;
        if (element(&to, dtype, i) != rounded(dtype, value)) fail("epilogue", kernels->name, dtype, i);
    }
    release(from, "source guards", kernels->name);
    release(to, "result guards", kernels->name);
    release(bias, "bias guards", kernels->name);
}

int main(int argc, char **argv) {
    const int problems = argc > 1 ? atoi(argv[1]) : 300;
    for (int i = 0; i < fc_kernels_count(); i++) {
        const fc_kernels *kernels = fc_kernels_built(i);
        if (!fc_kernels_supported(i)) continue;
        int pools = 0;
        for (int t = 0; t < problems; t++) pools += test_pool(kernels);
        for (int t = 0; t < problems; t++) test_epilogue_pass(kernels);
        printf("%s (%s): %d pools, %d epilogues\n", kernels->name, kernels->fused ? "fused" : "not fused", pools,
               problems);
    }
    return 0;
}
