# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=True
"""The CPU: shares the tasks of one call out to OpenMP threads; the only place that knows both Python and C."""

import os

import numpy

cimport cython
cimport numpy as cnp
from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t

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


@cython.final
cdef class Forward:
    """A forward convolution of one problem, dtype and layout.

    `sum` is the planner's Summation. With `one_row`, images whose pixels are evenly spaced are computed as one row of
    pixels: a plain matrix product. With `along_rows`, lanes hold neighbouring pixels (src/image_filter.c).
    """
    cdef fc_problem problem
    cdef fc_sum sum
    cdef fc_dtype dtype
    cdef bint channels_first
    cdef bint one_row
    cdef bint along_rows

    def __init__(self, problem, sum, str dtype, bint channels_first, bint one_row=False,
                 bint along_rows=False):
        cdef fc_problem *p = &self.problem
        (p.n, p.h, p.w, p.c, p.kh, p.kw, p.f, p.oh, p.ow, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w,
         p.pad_top, p.pad_bottom, p.pad_left, p.pad_right, p.groups) = problem
        (self.sum.folded, self.sum.runs, self.sum.run_length, self.sum.block_runs, self.sum.chunk) = sum
        self.dtype = {"float32": FC_F32, "float64": FC_F64, "int32": FC_I32, "float16": FC_F16, "bfloat16": FC_BF16}[
            dtype
        ]
        self.channels_first = channels_first
        self.one_row = one_row
        self.along_rows = along_rows

    def run(self, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, int threads):
        """Computes y, a dense array, from behaved 4-D arrays x and w; x may have any number of images."""
        cdef fc_forward call
        cdef fc_problem *p = &call.problem
        cdef int64_t task
        cdef char *scratch
        call.problem = self.problem
        p.n = cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) == 4 else 0
        # Shapes were read when the plan was looked up; another thread may have changed them since.
        if not (
            self.is_image(x, p.n, p.h, p.w, p.c)
            and self.is_image(y, p.n, p.oh, p.ow, p.f)
            and has_shape(w, p.kh, p.kw, p.c // p.groups, p.f)
        ):
            raise ValueError("input: an array changed its shape during the call")
        if not cnp.PyArray_IS_C_CONTIGUOUS(w):
            w = numpy.ascontiguousarray(w)
        call.sum = self.sum
        call.kernels = chosen
        call.along_rows = self.along_rows
        call.x = self.tensor(x, p.h, p.w, p.c)
        call.y = self.tensor(y, p.oh, p.ow, p.f)
        call.w = cnp.PyArray_DATA(w)
        if self.one_row and evenly_spaced(&call.x, p) and evenly_spaced(&call.y, p):
            p.w = p.ow = p.n * p.h * p.w
            p.n = p.h = p.oh = 1
        fc_forward_split(&call, threads)
        threads = <int>min(<int64_t>threads, call.tasks)
        scratch = <char *>fc_take_scratch(<size_t>(threads * call.scratch_bytes))
        if scratch == NULL:
            raise MemoryError(f"no memory for {threads * call.scratch_bytes} bytes of scratch")
        for task in range(threads):
            fc_forward_begin(scratch + task * call.scratch_bytes)
        with nogil:
            if threads == 1:  # not a team of one, which may hang in a forked child
                for task in range(call.tasks):
                    fc_forward_task(&call, task, scratch)
            else:
                for task in prange(call.tasks, num_threads=threads, schedule="dynamic", chunksize=1):
                    fc_forward_task(&call, task, scratch + threadid() * call.scratch_bytes)
        fc_give_scratch(scratch)

    cdef bint is_image(self, cnp.ndarray array, int64_t n, int64_t h, int64_t w, int64_t c):
        return has_shape(array, n, c, h, w) if self.channels_first else has_shape(array, n, h, w, c)

    cdef fc_tensor tensor(self, cnp.ndarray array, int64_t h, int64_t w, int64_t c):
        """The array as C sees it; an axis of one cell has no stride of its own and gets a dense one."""
        cdef fc_tensor seen
        cdef cnp.npy_intp *steps = cnp.PyArray_STRIDES(array)
        cdef int64_t size = cnp.PyArray_ITEMSIZE(array)
        cdef int axis_h = 2 if self.channels_first else 1
        cdef int axis_c = 1 if self.channels_first else 3
        seen.data = cnp.PyArray_DATA(array)
        seen.dtype = self.dtype
        seen.stride_c = steps[axis_c] // size if c > 1 else 1
        seen.stride_w = steps[axis_h + 1] // size if w > 1 else (c if seen.stride_c == 1 else 1)
        seen.stride_h = steps[axis_h] // size if h > 1 else w * seen.stride_w
        seen.stride_n = steps[0] // size if cnp.PyArray_DIM(array, 0) > 1 else h * seen.stride_h
        return seen


cdef bint has_shape(cnp.ndarray array, int64_t a, int64_t b, int64_t c, int64_t d):
    cdef cnp.npy_intp *sizes = cnp.PyArray_DIMS(array)
    return cnp.PyArray_NDIM(array) == 4 and sizes[0] == a and sizes[1] == b and sizes[2] == c and sizes[3] == d


cdef bint evenly_spaced(const fc_tensor *x, const fc_problem *p) noexcept nogil:
    """Whether every pixel of the batch lies one stride_w after the one before."""
    return x.stride_h == p.w * x.stride_w and x.stride_n == p.h * x.stride_h


use_instruction_set(os.environ.get("FASTCONV_ISA", ""))
