"""Memory for results, from NumPy's own allocator but beginning at a cache line: part of _core.pyx, which includes it.

NumPy's arrays begin 16 bytes into a line: every other vector of a row would be stored to two lines, which costs matrix
products 3 % and sums of few terms, such as a first layer's, up to a third.
"""

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
