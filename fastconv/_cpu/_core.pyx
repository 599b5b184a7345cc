# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=True
"""The CPU: shares the tasks of one call out to threads; the only place that knows both Python and C."""

import os

import numpy

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cnp.import_array()

cdef extern from "build.h" nogil:
    const int FC_OPENMP
    const char *FC_COMPILER
    const char *FC_FLAGS

cdef extern from "scratch.h" nogil:
    void *fc_take_scratch(size_t bytes)
    void fc_give_scratch(void *scratch)
    size_t fc_scratch_bytes()

from fastconv._cpu._tensors cimport (
    changed, check_arrays, check_dense, check_strided, filters_of, images, merge_images, problem_of, set_part, sum_of,
    tensor, winograd_of,
)

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


def scratch_bytes():
    """What the last convolution took for all its threads, its own packed filters included; for the benchmarks."""
    return fc_scratch_bytes()


@cython.final
cdef class Forward:
    """A forward convolution of one problem, dtype and layout.

    `sum` is the planner's Summation. With `one_row`, for 1x1 filters, images whose pixels are evenly spaced are
    computed as one row of pixels: a plain matrix product. `method` names one of src/forward.c; that of "winograd" takes
    the planner's Rung.
    """
    cdef fc_problem problem
    cdef fc_sum sum
    cdef fc_winograd winograd
    cdef fc_dtype dtype
    cdef int number  # NumPy's, of the dtype
    cdef bint channels_first
    cdef bint one_row
    cdef const fc_method *method

    def __init__(self, problem, str dtype, bint channels_first, sum, bint one_row, str method, rung):
        self.problem = problem_of(problem)
        self.sum = sum_of(sum)
        self.winograd = winograd_of(rung)
        self.dtype = DTYPES[dtype]
        self.number = numpy.dtype(dtype).num
        self.channels_first = channels_first
        self.one_row = one_row
        self.method = method_of(method)

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, int threads, extras):
        """Computes y, a dense array, from behaved 4-D arrays x and w; x may have any number of images.

        `extras` is None or the call's Extras.
        """
        cdef fc_forward call
        memset(&call, 0, sizeof(call))
        call.problem = self.problem
        cdef fc_problem *p = &call.problem
        p.n = images(x)
        check_arrays(self.channels_first, p, self.number, x, w, y, y)
        call.sum = self.sum
        call.winograd = self.winograd
        call.kernels = chosen
        call.method = self.method
        call.x = tensor(x, self.dtype, self.channels_first, p.h, p.w, p.c)
        call.y = tensor(y, self.dtype, self.channels_first, p.oh, p.ow, p.f)
        call.w = filters_of(w, p.f // p.groups)
        if self.one_row:
            merge_images(&call)
        if extras is not None:
            call.epilogue = epilogue_of(extras.bias, extras.activation, self.dtype, p.f)
            use_packed(&call, extras.packings, None, threads)
        share_out(&call, 1, threads)


@cython.final
cdef class Parts:
    """A convolution in parts, forward or, where `gradient`, of its input's gradient: one problem, dtype and layout.

    `parts` holds for each the planner's Part, its Summation, and one_row, method and rung as in Forward. Cells that
    belong to no part become zero; there are none where `complete`.
    """
    cdef fc_problem problem
    cdef str name
    cdef fc_dtype dtype
    cdef int number  # NumPy's, of the dtype
    cdef bint channels_first
    cdef bint complete
    cdef bint gradient
    cdef list parts

    def __init__(self, problem, list parts, bint complete, bint gradient, str dtype, bint channels_first):
        self.problem = problem_of(problem)
        self.parts = parts
        self.complete = complete
        self.gradient = gradient
        self.name = dtype
        self.dtype = DTYPES[dtype]
        self.number = numpy.dtype(dtype).num
        self.channels_first = channels_first

    def run(self, cnp.ndarray a, cnp.ndarray b, cnp.ndarray result, int threads, extras):
        """Computes a dense array from behaved 4-D ones: y from x and w or, where `gradient`, dx from w and dy.

        `extras` is None or the call's Extras.
        """
        cdef fc_problem p = self.problem
        cdef cnp.ndarray source = b if self.gradient else a
        cdef cnp.ndarray w = a if self.gradient else b
        cdef fc_tensor x, y
        cdef fc_filters filters
        cdef const char *bias
        cdef int64_t channel
        cdef int index
        cdef int count = <int>len(self.parts)
        p.n = images(source)
        if self.gradient:
            check_arrays(self.channels_first, &p, self.number, result, w, source, result)
            x = tensor(source, self.dtype, self.channels_first, p.oh, p.ow, p.f)
            y = tensor(result, self.dtype, self.channels_first, p.h, p.w, p.c)
        else:
            check_arrays(self.channels_first, &p, self.number, source, w, result, result)
            x = tensor(source, self.dtype, self.channels_first, p.h, p.w, p.c)
            y = tensor(result, self.dtype, self.channels_first, p.oh, p.ow, p.f)
        filters = filters_of(w, p.f // p.groups)
        if self.gradient:
            filters.depth, filters.column = filters.column, filters.depth
        if not self.complete:
            result.fill(0)
            if extras is not None:
                shape = cnp.PyArray_DIMS(result)
                columns = shape[2] * shape[3] if self.channels_first else shape[3]
                finish(result, result, columns, self.channels_first, self.name, extras.bias, extras.activation, threads)
        cdef fc_forward *calls = <fc_forward *>calloc(max(count, 1), sizeof(fc_forward))
        if calls == NULL:
            raise MemoryError(f"no memory for {count} parts")
        try:
            for index in range(count):
                part, sum, one_row, method, rung = self.parts[index]
                calls[index].kernels = chosen
                calls[index].method = method_of(method)
                calls[index].sum = sum_of(sum)
                calls[index].winograd = winograd_of(rung)
                set_part(&calls[index], part, p.n, x, y, filters)
                if one_row:
                    merge_images(&calls[index])
                if extras is not None:
                    calls[index].epilogue = epilogue_of(
                        extras.bias, extras.activation, self.dtype, p.c if self.gradient else p.f
                    )
                    if extras.bias is not None:
                        channel = <int64_t>part.group * calls[index].problem.f
                        bias = <const char *>calls[index].epilogue.bias
                        calls[index].epilogue.bias = bias + channel * cnp.PyArray_ITEMSIZE(<cnp.ndarray>extras.bias)
                    use_packed(&calls[index], extras.packings, part[7:], threads)
            share_out(calls, count, threads)
        finally:
            free(calls)


cdef struct filter_job:
    const fc_backprop_filter *call
    char *scratch  # of all slots
    int64_t each  # bytes of a slot
    char *partial  # sums that all tasks share


@cython.final
cdef class BackpropFilter:
    """The gradient of a convolution's filters, for one problem, dtype and layout.

    `method` names one of src/backprop_filter.c; that of "winograd" takes the planner's Rung.
    """
    cdef fc_problem problem
    cdef fc_sum sum
    cdef fc_pixel_sum pixels
    cdef fc_winograd winograd
    cdef const fc_filter_method *method
    cdef fc_dtype dtype
    cdef int number  # NumPy's, of the dtype
    cdef bint channels_first

    def __init__(self, problem, sum, pixels, str method, rung, str dtype, bint channels_first):
        self.problem = problem_of(problem)
        self.sum = sum_of(sum)
        self.method = filter_method_of(method)
        self.winograd = winograd_of(rung)
        (self.pixels.rows, self.pixels.columns, self.pixels.slices, self.pixels.portions) = pixels
        self.dtype = DTYPES[dtype]
        self.number = numpy.dtype(dtype).num
        self.channels_first = channels_first

    def run(self, cnp.ndarray x, cnp.ndarray dy, cnp.ndarray dw, int threads, extras):
        """Computes dw, a dense array, from behaved 4-D arrays x and dy; there are no extras.

        Returns None, or what direct sums are to replace: "all" or those that are "not finite".
        """
        cdef fc_backprop_filter call
        memset(&call, 0, sizeof(call))
        call.forward.problem = self.problem
        cdef fc_problem *p = &call.forward.problem
        check_arrays(self.channels_first, p, self.number, x, dw, dy, dw)
        call.forward.sum = self.sum
        call.method = self.method
        call.forward.winograd = self.winograd
        call.forward.kernels = chosen
        call.forward.x = tensor(x, self.dtype, self.channels_first, p.h, p.w, p.c)
        call.forward.y = tensor(dy, self.dtype, self.channels_first, p.oh, p.ow, p.f)
        call.pixels = self.pixels
        call.w = cnp.PyArray_DATA(dw)
        cdef bint is_exact = False
        with nogil:
            if self.winograd.rows:
                is_exact = gradient_is_exact(&call.forward)
        if is_exact:
            return "all"
        fc_prepare_filter(&call, threads)
        threads = <int>min(<int64_t>threads, call.tasks)
        cdef filter_job job
        job.call = &call
        job.each = call.scratch_bytes
        job.scratch = take_scratch(threads * job.each + call.partial_bytes)
        job.partial = job.scratch + threads * job.each
        try:
            for call.portion in range(self.pixels.portions):
                run_tasks(filter_task, &job, call.tasks, threads)
                run_tasks(filter_sum, &job, call.sums, threads)
            return self.verdict(&job)
        finally:
            fc_give_scratch(job.scratch)

    cdef str verdict(self, filter_job *job):
        cdef fc_verdict verdict
        with nogil:
            verdict = fc_filter_verdict(job.call, job.partial)
        return None if verdict == FC_SOUND else "all" if verdict == FC_UNEVEN else "not finite"


include "_team.pxi"
include "_exact.pxi"
include "_memory.pxi"
include "_launch.pxi"
include "_layers.pxi"

FUNCTIONS = {  # of finish
    "relu": FC_RELU,
    "relu6": FC_RELU6,
    "leaky_relu": FC_LEAKY_RELU,
    "silu": FC_SILU,
    "hard_swish": FC_HARD_SWISH,
    "sigmoid": FC_SIGMOID,
    "tanh": FC_TANH,
    "gelu": FC_GELU,
    "gelu_tanh": FC_GELU_TANH,
}
WINOGRAD_TAPS = FC_WIDEST  # along an axis, at most
WINOGRAD_RANGE = FC_RANGE  # terms or columns that share transformed tiles in gradients of filters
IMAGE_LANES = FC_IMAGE_LANES  # that sums over pixels are dealt out to
DTYPES = {"float32": FC_F32, "float64": FC_F64, "int32": FC_I32, "float16": FC_F16, "bfloat16": FC_BF16}


METHODS = {}  # each forward method's name, and its place in the table of src/forward.c
FILTER_METHODS = {}  # the same of src/backprop_filter.c
cdef int place = 0
while fc_methods[place] != NULL:
    METHODS[_text(fc_methods[place].name)] = place
    place += 1
place = 0
while fc_filter_methods[place] != NULL:
    FILTER_METHODS[_text(fc_filter_methods[place].name)] = place
    place += 1


cdef const fc_method *method_of(str name) except NULL:
    return fc_methods[<int>METHODS[name]]


cdef const fc_filter_method *filter_method_of(str name) except NULL:
    return fc_filter_methods[<int>FILTER_METHODS[name]]


cdef char *take_scratch(int64_t size) except NULL:
    cdef char *scratch = <char *>fc_take_scratch(<size_t>size)
    if scratch == NULL:
        raise MemoryError(f"no memory for {size} bytes of scratch")
    return scratch


cdef int run_calls(fc_forward *calls, int count, int threads) except -1:
    """Runs the tasks of these calls on so many threads, or as many as there are tasks."""
    cdef int64_t tasks = 0
    cdef int64_t packed = 0
    cdef int slot
    cdef int index
    cdef forward_job job
    job.calls = calls
    job.each = 0
    for index in range(count):
        fc_prepare(&calls[index], threads)
        tasks += calls[index].tasks
        job.each = max(job.each, calls[index].scratch_bytes)
        if calls[index].pack_tasks:
            packed += fc_packed_size(&calls[index])
        packed += fc_magnitudes_size(&calls[index])
    if tasks == 0:
        return 0
    cdef int team = <int>min(<int64_t>threads, tasks)
    job.each = (job.each + 63) // 64 * 64
    job.scratch = take_scratch(team * job.each + packed)
    cdef char *filters = job.scratch + team * job.each
    for slot in range(team):
        fc_forward_begin(job.scratch + slot * job.each)
    try:
        for index in range(count):
            if calls[index].pack_tasks:
                pack(&calls[index], calls[index].pack_tasks, filters, threads)
                filters += fc_packed_size(&calls[index])
            if fc_magnitudes_size(&calls[index]):
                fc_weigh(&calls[index], filters)
                calls[index].magnitudes = filters
                filters += fc_magnitudes_size(&calls[index])
        run_tasks(forward_task, &job, tasks, team)
    finally:
        fc_give_scratch(job.scratch)
    return 0


cdef struct forward_job:
    const fc_forward *calls
    char *scratch  # of all slots
    int64_t each  # bytes of a slot


cdef void forward_task(const void *job, int64_t task, int slot) noexcept nogil:
    cdef const forward_job *j = <const forward_job *>job
    fc_forward_task_of(j.calls, task, j.scratch + slot * j.each)


cdef void filter_task(const void *job, int64_t task, int slot) noexcept nogil:
    cdef const filter_job *j = <const filter_job *>job
    fc_filter_task(j.call, task, j.scratch + slot * j.each, j.partial)


cdef void filter_sum(const void *job, int64_t task, int slot) noexcept nogil:
    cdef const filter_job *j = <const filter_job *>job
    fc_sum_slices(j.call, task, j.partial)


cdef struct pack_job:
    const fc_forward *call
    void *packed


cdef void pack_task(const void *job, int64_t task, int slot) noexcept nogil:
    cdef const pack_job *j = <const pack_job *>job
    fc_pack(j.call, task, j.packed)


cdef int pack(fc_forward *call, int64_t tasks, void *packed, int threads) except -1:
    """Packs all filters of a call, which then uses them."""
    cdef pack_job job
    job.call = call
    job.packed = packed
    run_tasks(pack_task, &job, tasks, threads)
    call.packed = packed
    return 0


cdef fc_epilogue epilogue_of(bias, activation, fc_dtype dtype, int64_t biases):
    """The epilogue of results of this dtype, with so many biases if there are any."""
    cdef fc_epilogue epilogue
    if bias is not None:
        check_dense(
            bias,
            cnp.NPY_FLOAT64 if dtype == FC_F64 else cnp.NPY_INT32 if dtype == FC_I32 else cnp.NPY_FLOAT32,
            biases, False,
        )
    epilogue.bias = NULL if bias is None else cnp.PyArray_DATA(<cnp.ndarray>bias)
    epilogue.bias_of_rows = False
    epilogue.activation = FC_LINEAR if activation is None else FUNCTIONS[activation]
    epilogue.slope = 0.2
    return epilogue


cdef int use_packed(fc_forward *call, dict packings, view, int threads) except -1:
    """Takes the packed filters from `packings`, where they are put when they are first wanted.

    `view` tells which of the filters these are, and in what order.
    """
    if packings is None or not fc_can_pack(call):
        return 0
    cdef fc_sum *sum = &call.sum
    cdef fc_winograd *rung = &call.winograd
    cdef fc_problem *p = &call.problem
    key = (
        view, p.kh, p.kw, p.c, p.f, p.groups, sum.folded, sum.block_runs, sum.chunk,
        <size_t>call.method, rung.rows, rung.columns, rung.rows and p.stride_h, instruction_set(),
        call.w.h, call.w.w, call.w.depth, call.w.column,  # a reshaped bank has the same packings, and other steps
    )
    found = packings.get(key)
    cdef cnp.ndarray buffer
    if found is None:
        buffer = numpy.empty(fc_packed_size(call) + 64, numpy.uint8)
        pack(call, fc_pack_tasks(call), aligned(buffer), threads)
        found = packings.setdefault(key, buffer)
    buffer = <cnp.ndarray>found
    call.packed = aligned(buffer)
    return 0


cdef void *aligned(cnp.ndarray buffer) noexcept:
    """The first cache line that begins in the buffer."""
    return <void *>((<size_t>cnp.PyArray_DATA(buffer) + 63) // 64 * 64)


use_instruction_set(os.environ.get("FASTCONV_ISA", ""))
