# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=True
"""A call before and after its arithmetic, which small calls mostly are: its plan's key, its checks, and its result."""

import numpy

cimport numpy as cnp
from libc.stdint cimport int64_t

cnp.import_array()

# Results get memory from NumPy's own allocator, but beginning at a cache line. NumPy's arrays begin 16 bytes into a
# line: every other vector of a row would be stored to two lines, which costs matrix products 3 %, and sums of few
# terms, such as a first layer's, up to a third.
cdef extern from "line_memory.h":
    object fc_numpys_handler()
    object fc_handler_of_lines()
    object PyDataMem_SetHandler(object handler)  # the declarations of older NumPys, as of 2.1, lack it

cdef enum:
    WORTH_A_LINE = 1 << 11  # elements of a result, below which changing the allocator costs more than it saves

cdef object numpys_handler = fc_numpys_handler()
cdef object handler_of_lines = fc_handler_of_lines()


cdef cnp.ndarray fresh(int axes, cnp.npy_intp *sizes, int number):
    """A new array, not initialized; where the caller has set an allocator of their own, from that."""
    cdef int64_t elements = 1
    cdef int axis
    for axis in range(axes):
        elements *= sizes[axis]
    if elements < WORTH_A_LINE:
        return cnp.PyArray_EMPTY(axes, sizes, number, False)
    callers = PyDataMem_SetHandler(handler_of_lines)
    if callers is not numpys_handler:
        PyDataMem_SetHandler(callers)
        return cnp.PyArray_EMPTY(axes, sizes, number, False)
    try:
        return cnp.PyArray_EMPTY(axes, sizes, number, False)
    finally:
        PyDataMem_SetHandler(callers)


cdef enum:
    MOST_AXES = 64  # of an array

cdef int bfloat16 = -1  # its number, which NumPy gives to ml_dtypes; -1 until it was seen


def behaved(input, filters):
    """Whether both are plain arrays of one dtype that is computed and that C can read: no further look at them."""
    global bfloat16
    if not (type(input) is cnp.ndarray and type(filters) is cnp.ndarray):
        return False
    cdef cnp.ndarray x = <cnp.ndarray>input
    cdef cnp.ndarray w = <cnp.ndarray>filters
    cdef int number = cnp.PyArray_TYPE(x)
    if number != cnp.PyArray_TYPE(w):
        return False
    if number not in (cnp.NPY_FLOAT32, cnp.NPY_FLOAT64, cnp.NPY_FLOAT16, cnp.NPY_INT32, bfloat16):
        if x.dtype.name != "bfloat16":
            return False
        bfloat16 = number
    return bool(cnp.PyArray_ISBEHAVED_RO(x) and cnp.PyArray_ISBEHAVED_RO(w))


def call_key(str direction, tuple operands, tuple spelled, options):
    """What a call's plan is remembered by; it hashes, unless the caller's arguments hold what does not.

    `operands` are up to three NumPy arrays, all of one dtype, and whatever else tells calls apart, such as shapes;
    `spelled` is the geometry as the caller gave it.
    """
    cdef cnp.npy_intp numbers[3 * (1 + MOST_AXES)]  # of all arrays: the dtype and the shape
    cdef cnp.npy_intp *end = numbers
    cdef object shape = None
    cdef cnp.ndarray array
    cdef int axis
    for operand in operands:
        if isinstance(operand, cnp.ndarray):
            array = <cnp.ndarray>operand
            end[0] = cnp.PyArray_TYPE(array) * (1 + MOST_AXES) + cnp.PyArray_NDIM(array)
            for axis in range(cnp.PyArray_NDIM(array)):
                end[1 + axis] = cnp.PyArray_DIMS(array)[axis]
            end += 1 + cnp.PyArray_NDIM(array)
        else:
            shape = operand if shape is None else (shape, operand)
    strides, padding, data_format, dilations = spelled
    return (
        (<char *>numbers)[:(end - numbers) * sizeof(cnp.npy_intp)], shape,
        direction, options, hashable(strides), hashable(padding), data_format, hashable(dilations),
    )


cdef object hashable(value, int depth=2):
    """What stands for an argument in a key: a tuple for a list, which does not hash.

    Objects that are equal but do not mean the same, as Fraction(1) and 1, are put into a list: no key is found for it.
    """
    if value is None or type(value) is int or type(value) is str:
        return value
    if depth and (type(value) is list or type(value) is tuple):
        return tuple([hashable(item, depth - 1) for item in value])
    return value if isinstance(value, (int, float, str, bytes, numpy.number)) else [value]


cdef class Launch:
    """What a plan does at every call: makes the result, and has `run` compute it.

    `run` takes the operands, the result, the number of threads and the call's EpilogueArguments or None. It is None
    where the call is anything but the common case: a result of four dimensions, something to sum, and nobody who
    watches. Then the plan's own `run_otherwise` computes the result.
    """
    cdef readonly tuple result_shape
    cdef readonly object dtype
    cdef object run
    cdef object count_threads
    cdef readonly int most_threads
    cdef int number  # of the dtype
    cdef cnp.npy_intp sizes[4]

    def __init__(self, tuple result_shape, dtype, run, int most_threads, count_threads):
        self.result_shape = result_shape
        self.dtype = dtype
        self.number = dtype.num
        self.run = run
        self.most_threads = most_threads
        self.count_threads = count_threads
        cdef int axis
        if run is not None:
            for axis in range(4):
                self.sizes[axis] = result_shape[axis]

    def __call__(self, cnp.ndarray a, cnp.ndarray b, out=None, tuple inputs=(), epilogue=None):
        # The result, in `out` if that is given; `inputs` are the caller's own, which `out` must not overlap.
        cdef cnp.ndarray result
        if out is not None:
            self.check(out, (a, b, *inputs))
            result = numpy.asarray(out)  # a subclass may give what it likes for its attributes
        elif self.run is None:
            result = numpy.empty(self.result_shape, self.dtype)
        else:
            result = fresh(4, self.sizes, self.number)
        if self.run is None:
            self.run_otherwise(a, b, result, epilogue)
        else:
            self.run(a, b, result, 1 if self.most_threads == 1 else self.count_threads(self.most_threads), epilogue)
        return result if out is None else out
