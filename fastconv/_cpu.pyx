# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=True
"""The CPU: shares the tasks of one call out to OpenMP threads; the only place that knows both Python and C."""

import os

import numpy

cimport cython
cimport numpy as cnp
from cython.parallel cimport prange, threadid
from libc.math cimport erf as c_erf
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

cnp.import_array()

cdef extern from * nogil:
    """
    #include <stdlib.h>

    #ifdef _OPENMP
    #define FC_OPENMP _OPENMP
    #else
    #define FC_OPENMP 0
    #endif
    #ifdef __clang__
    #define FC_COMPILER "Clang " __clang_version__
    #else
    #define FC_COMPILER "GCC " __VERSION__
    #endif
    #ifndef FC_FLAGS
    #define FC_FLAGS ""
    #endif

    /* Scratch is kept from call to call, for fresh pages cost more than small convolutions: one buffer, taken by one
     * call at a time; a call that finds it taken allocates its own. Its first 64 bytes hold its size. */
    #define FC_MOST_KEPT ((size_t)64 << 20)
    static void *fc_kept_scratch;

    static void *fc_take_scratch(size_t bytes) {
        char *base = __atomic_exchange_n(&fc_kept_scratch, NULL, __ATOMIC_ACQ_REL);
        if (base && *(size_t *)base < bytes) {
            free(base);
            base = NULL;
        }
        if (!base) {
            base = aligned_alloc(64, (bytes + 127) / 64 * 64);
            if (!base) return NULL;
            *(size_t *)base = bytes;
        }
        return base + 64;
    }

    static void fc_give_scratch(void *scratch) {
        void *base = (char *)scratch - 64;
        if (*(size_t *)base <= FC_MOST_KEPT) base = __atomic_exchange_n(&fc_kept_scratch, base, __ATOMIC_ACQ_REL);
        free(base);
    }
    """
    const int FC_OPENMP
    const char *FC_COMPILER
    const char *FC_FLAGS
    void *fc_take_scratch(size_t bytes)
    void fc_give_scratch(void *scratch)

cdef const fc_kernels *chosen = NULL


cdef str _text(const char *bytes_):
    return (<bytes>bytes_).decode("ascii")


def use_instruction_set(str wanted):
    """Uses the instruction set of this name, or the best that this CPU has; for the import and for tests.

    Not while calls run in other threads.
    """
    global chosen
    cdef int i
    for i in range(fc_kernels_count()):
        name = _text(fc_kernels_built(i).name)
        if fc_kernels_supported(i) and wanted in ("", name):
            chosen = fc_kernels_built(i)
            return
    have = ", ".join(name for name, supported in instruction_sets().items() if supported)
    raise ImportError(f"FASTCONV_ISA={wanted!r} is not an instruction set of this CPU and build, which have {have}")


def instruction_sets():
    """Every instruction set in this build, best first, and whether this CPU has it."""
    cdef int i
    found = {}
    for i in range(fc_kernels_count()):
        name = _text(fc_kernels_built(i).name)
        found[name] = found.get(name, False) or bool(fc_kernels_supported(i))
    return found


def instruction_set():
    """The name of the instruction set in use."""
    return _text(chosen.name)


def build():
    """What the extension was built with, and whether multiply-adds in use are fused."""
    return {
        "compiler": _text(FC_COMPILER),
        "flags": _text(FC_FLAGS),
        "openmp": FC_OPENMP,
        "fused_multiply_add": bool(chosen.fused),
    }


def behaved(input, filters):
    """Whether both are plain arrays of one dtype that C can read, which needs no further look at them.

    True only for the dtypes that are computed: float16, float32, float64 and int32 (bfloat16 has no fixed number).
    """
    if not (type(input) is cnp.ndarray and type(filters) is cnp.ndarray):
        return False
    cdef cnp.ndarray x = <cnp.ndarray>input
    cdef cnp.ndarray w = <cnp.ndarray>filters
    cdef int number = cnp.PyArray_TYPE(x)
    if number != cnp.PyArray_TYPE(w):
        return False
    if number not in (cnp.NPY_FLOAT32, cnp.NPY_FLOAT64, cnp.NPY_FLOAT16, cnp.NPY_INT32):
        return False
    return bool(cnp.PyArray_ISBEHAVED_RO(x) and cnp.PyArray_ISBEHAVED_RO(w))


def erf(values):
    """The error function of every element, in float64."""
    cdef cnp.ndarray result = numpy.array(values, dtype=numpy.float64, order="C")
    cdef double *elements = <double *>cnp.PyArray_DATA(result)
    cdef int64_t count = cnp.PyArray_SIZE(result)
    cdef int64_t i
    for i in range(count):
        elements[i] = c_erf(elements[i])
    return result


@cython.final
cdef class Forward:
    """A forward convolution of one problem, dtype and layout.

    `sum` is the planner's Summation. With `one_row`, for 1x1 filters, images whose pixels are evenly spaced are
    computed as one row of pixels: a plain matrix product. `lanes` tells what the lanes of a vector hold: "channels",
    "pixels" (src/image_filter.c), "depthwise" channels (src/depthwise.c) or "taps" (src/tap_products.c).
    """
    cdef fc_problem problem
    cdef fc_sum sum
    cdef fc_dtype dtype
    cdef bint channels_first
    cdef bint one_row
    cdef fc_lanes lanes

    def __init__(self, problem, str dtype, bint channels_first, sum, bint one_row, str lanes):
        self.problem = problem_of(problem)
        self.sum = sum_of(sum)
        self.dtype = DTYPES[dtype]
        self.channels_first = channels_first
        self.one_row = one_row
        self.lanes = LANES[lanes]

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, int threads):
        """Computes y, a dense array, from behaved 4-D arrays x and w; x may have any number of images."""
        cdef fc_forward call
        call.problem = self.problem
        cdef fc_problem *p = &call.problem
        p.n = images(x)
        check_shapes(self.channels_first, p, x, w, y)
        call.sum = self.sum
        call.kernels = chosen
        call.lanes = self.lanes
        call.x = tensor(x, self.dtype, self.channels_first, p.h, p.w, p.c)
        call.y = tensor(y, self.dtype, self.channels_first, p.oh, p.ow, p.f)
        call.w = filters_of(w, p.f // p.groups)
        if self.one_row:
            merge_images(&call)
        share_out(&call, 1, threads)


@cython.final
cdef class BackpropInput:
    """The gradient of a convolution's input, for one problem, dtype and layout.

    `phases` holds for each of the planner's phases the Phase, its Summation, and one_row and lanes as in Forward.
    Cells that belong to no phase become zero; there are none where `complete`.
    """
    cdef fc_problem problem
    cdef fc_dtype dtype
    cdef bint channels_first
    cdef bint complete
    cdef list phases

    def __init__(self, problem, list phases, bint complete, str dtype, bint channels_first):
        self.problem = problem_of(problem)
        self.phases = phases
        self.complete = complete
        self.dtype = DTYPES[dtype]
        self.channels_first = channels_first

    def run(self, cnp.ndarray w, cnp.ndarray dy, cnp.ndarray dx, int threads):
        """Computes dx, a dense array, from behaved 4-D arrays w and dy."""
        cdef fc_problem p = self.problem
        cdef int64_t size = cnp.PyArray_ITEMSIZE(w)
        cdef fc_tensor x, y
        cdef fc_filters filters
        cdef fc_forward *call
        cdef int index
        cdef int count = <int>len(self.phases)
        p.n = images(dy)
        check_shapes(self.channels_first, &p, dx, w, dy)
        x = tensor(dx, self.dtype, self.channels_first, p.h, p.w, p.c)
        y = tensor(dy, self.dtype, self.channels_first, p.oh, p.ow, p.f)
        filters = filters_of(w, p.f // p.groups)
        if not self.complete:
            dx.fill(0)
        cdef fc_forward *calls = <fc_forward *>calloc(count, sizeof(fc_forward))
        if calls == NULL:
            raise MemoryError(f"no memory for {count} phases")
        try:
            for index in range(count):
                phase, sum, one_row, lanes = self.phases[index]
                problem, row, column, tap_row, tap_column, tap_step_h, tap_step_w = phase
                call = &calls[index]
                call.problem = problem_of(problem)
                call.problem.n = p.n
                call.sum = sum_of(sum)
                call.kernels = chosen
                call.lanes = LANES[lanes]
                call.x = y
                call.y = x
                call.y.data = <char *>x.data + (<int64_t>row * x.stride_h + <int64_t>column * x.stride_w) * size
                call.y.stride_h = x.stride_h * p.stride_h
                call.y.stride_w = x.stride_w * p.stride_w
                call.w.data = (
                    <const char *>filters.data
                    + (<int64_t>tap_row * filters.h + <int64_t>tap_column * filters.w) * size
                )
                call.w.group = filters.group
                call.w.h = <int64_t>tap_step_h * filters.h
                call.w.w = <int64_t>tap_step_w * filters.w
                call.w.depth = filters.column
                call.w.column = filters.depth
                if one_row:
                    merge_images(call)
            share_out(calls, count, threads)
        finally:
            free(calls)


@cython.final
cdef class BackpropFilter:
    """The gradient of a convolution's filters, for one problem, dtype and layout.

    Where `depthwise`, lanes hold the channels of as many groups.
    """
    cdef fc_problem problem
    cdef fc_sum sum
    cdef fc_pixel_sum pixels
    cdef bint depthwise
    cdef fc_dtype dtype
    cdef bint channels_first

    def __init__(self, problem, sum, pixels, bint depthwise, str dtype, bint channels_first):
        self.problem = problem_of(problem)
        self.sum = sum_of(sum)
        self.depthwise = depthwise
        (self.pixels.rows, self.pixels.columns, self.pixels.slices) = pixels
        self.dtype = DTYPES[dtype]
        self.channels_first = channels_first

    def run(self, cnp.ndarray x, cnp.ndarray dy, cnp.ndarray dw, int threads):
        """Computes dw, a dense array, from behaved 4-D arrays x and dy."""
        cdef fc_backprop_filter call
        call.forward.problem = self.problem
        cdef fc_problem *p = &call.forward.problem
        check_shapes(self.channels_first, p, x, dw, dy)
        call.forward.sum = self.sum
        call.forward.lanes = FC_DEPTHWISE if self.depthwise else FC_CHANNELS
        call.forward.kernels = chosen
        call.forward.x = tensor(x, self.dtype, self.channels_first, p.h, p.w, p.c)
        call.forward.y = tensor(dy, self.dtype, self.channels_first, p.oh, p.ow, p.f)
        call.pixels = self.pixels
        call.w = cnp.PyArray_DATA(dw)
        fc_backprop_filter_split(&call, threads)
        threads = <int>min(<int64_t>threads, call.tasks)
        cdef int64_t task
        cdef int64_t each = call.scratch_bytes
        cdef char *scratch = take_scratch(threads * each + call.partial_bytes)
        cdef char *partial = scratch + threads * each
        with nogil:
            if threads == 1:  # not a team of one, which may hang in a forked child
                for task in range(call.tasks):
                    fc_backprop_filter_task(&call, task, scratch, partial)
                for task in range(call.sums):
                    fc_backprop_filter_sum(&call, task, partial)
            else:
                for task in prange(call.tasks, num_threads=threads, schedule="dynamic", chunksize=1):
                    fc_backprop_filter_task(&call, task, scratch + threadid() * each, partial)
                for task in prange(call.sums, num_threads=threads, schedule="dynamic", chunksize=1):
                    fc_backprop_filter_sum(&call, task, partial)
        fc_give_scratch(scratch)


LANES = {"channels": FC_CHANNELS, "pixels": FC_PIXELS, "depthwise": FC_DEPTHWISE, "taps": FC_TAPS}
DTYPES = {"float32": FC_F32, "float64": FC_F64, "int32": FC_I32, "float16": FC_F16, "bfloat16": FC_BF16}


cdef char *take_scratch(int64_t size) except NULL:
    cdef char *scratch = <char *>fc_take_scratch(<size_t>size)
    if scratch == NULL:
        raise MemoryError(f"no memory for {size} bytes of scratch")
    return scratch


cdef int share_out(fc_forward *calls, int count, int threads) except -1:
    """Runs the tasks of these calls on so many threads, or as many as there are tasks."""
    cdef int64_t tasks = 0
    cdef int64_t each = 0
    cdef int64_t task
    cdef int index
    for index in range(count):
        fc_forward_split(&calls[index], threads)
        tasks += calls[index].tasks
        each = max(each, calls[index].scratch_bytes)
    threads = <int>min(<int64_t>threads, tasks)
    cdef char *scratch = take_scratch(threads * each)
    for task in range(threads):
        fc_forward_begin(scratch + task * each)
    with nogil:
        if threads == 1:  # not a team of one, which may hang in a forked child
            for task in range(tasks):
                fc_forward_task_of(calls, task, scratch)
        else:
            for task in prange(tasks, num_threads=threads, schedule="dynamic", chunksize=1):
                fc_forward_task_of(calls, task, scratch + threadid() * each)
    fc_give_scratch(scratch)
    return 0


cdef void merge_images(fc_forward *call) noexcept:
    """Makes one row of all pixels, where those are evenly spaced."""
    cdef fc_problem *p = &call.problem
    if evenly_spaced(&call.x, p) and evenly_spaced(&call.y, p):
        p.w = p.ow = p.n * p.h * p.w
        p.n = p.h = p.oh = 1


cdef bint evenly_spaced(const fc_tensor *x, const fc_problem *p) noexcept:
    """Whether every pixel of the batch lies one stride_w after the one before."""
    return (x.stride_h == p.w * x.stride_w or p.h == 1) and (x.stride_n == p.h * p.w * x.stride_w or p.n == 1)


cdef fc_problem problem_of(values):
    cdef fc_problem p
    (p.n, p.h, p.w, p.c, p.kh, p.kw, p.f, p.oh, p.ow, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w,
     p.pad_top, p.pad_bottom, p.pad_left, p.pad_right, p.groups) = values
    return p


cdef fc_sum sum_of(values):
    cdef fc_sum sum
    (sum.folded, sum.runs, sum.run_length, sum.block_runs, sum.chunk) = values
    return sum


cdef int64_t images(cnp.ndarray x):
    return cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) == 4 else 0


cdef int check_shapes(bint channels_first, const fc_problem *p, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y) except -1:
    """Shapes were read when the plan was looked up; another thread may have changed them since."""
    if not (
        is_image(channels_first, x, p.n, p.h, p.w, p.c)
        and is_image(channels_first, y, p.n, p.oh, p.ow, p.f)
        and has_shape(w, p.kh, p.kw, p.c // p.groups, p.f)
    ):
        raise ValueError("input: an array changed its shape during the call")
    return 0


cdef bint is_image(bint channels_first, cnp.ndarray array, int64_t n, int64_t h, int64_t w, int64_t c):
    return has_shape(array, n, c, h, w) if channels_first else has_shape(array, n, h, w, c)


cdef bint has_shape(cnp.ndarray array, int64_t a, int64_t b, int64_t c, int64_t d):
    cdef cnp.npy_intp *sizes = cnp.PyArray_DIMS(array)
    return cnp.PyArray_NDIM(array) == 4 and sizes[0] == a and sizes[1] == b and sizes[2] == c and sizes[3] == d


cdef fc_tensor tensor(cnp.ndarray array, fc_dtype dtype, bint channels_first, int64_t h, int64_t w, int64_t c):
    """The array as C sees it; an axis of one cell has no stride of its own and gets a dense one."""
    cdef fc_tensor seen
    cdef cnp.npy_intp *steps = cnp.PyArray_STRIDES(array)
    cdef int64_t size = cnp.PyArray_ITEMSIZE(array)
    cdef int axis_h = 2 if channels_first else 1
    cdef int axis_c = 1 if channels_first else 3
    seen.data = cnp.PyArray_DATA(array)
    seen.dtype = dtype
    seen.stride_c = steps[axis_c] // size if c > 1 else 1
    seen.stride_w = steps[axis_h + 1] // size if w > 1 else (c if seen.stride_c == 1 else 1)
    seen.stride_h = steps[axis_h] // size if h > 1 else w * seen.stride_w
    seen.stride_n = steps[0] // size if cnp.PyArray_DIM(array, 0) > 1 else h * seen.stride_h
    return seen


cdef fc_filters filters_of(cnp.ndarray array, int64_t group_width):
    """The filters as C sees them, each group with this many output channels."""
    cdef fc_filters seen
    cdef cnp.npy_intp *sizes = cnp.PyArray_DIMS(array)
    cdef cnp.npy_intp *steps = cnp.PyArray_STRIDES(array)
    cdef int64_t size = cnp.PyArray_ITEMSIZE(array)
    seen.data = cnp.PyArray_DATA(array)
    seen.column = steps[3] // size if sizes[3] > 1 else 1
    seen.depth = steps[2] // size if sizes[2] > 1 else sizes[3]
    seen.w = steps[1] // size if sizes[1] > 1 else sizes[2] * seen.depth
    seen.h = steps[0] // size if sizes[0] > 1 else sizes[1] * seen.w
    seen.group = group_width * seen.column
    return seen


use_instruction_set(os.environ.get("FASTCONV_ISA", ""))
