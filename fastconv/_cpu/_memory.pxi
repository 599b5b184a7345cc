"""Memory for results, from NumPy's own allocator but beginning at a cache line: part of _core.pyx, which includes it.

NumPy's arrays begin 16 bytes into a line: every other vector of a row would be stored to two lines, which costs matrix
products 3 % and sums of few terms, such as a first layer's, up to a third.
"""

cdef extern from *:
    """
    #define FC_LINE 64

    /* A block begins at the first line that leaves room before it for the address that NumPy's allocator gave. */
    static void *fc_at_line(char *memory) {
        if (!memory) return NULL;
        char *block = memory + FC_LINE - (size_t)memory % FC_LINE;
        ((char **)block)[-1] = memory;
        return block;
    }

    static void *fc_line_malloc(void *numpy, size_t size) {
        PyDataMemAllocator *its = numpy;
        return size > SIZE_MAX - FC_LINE ? NULL : fc_at_line(its->malloc(its->ctx, size + FC_LINE));
    }

    static void *fc_line_calloc(void *numpy, size_t count, size_t size) {
        PyDataMemAllocator *its = numpy;
        if (size && count > (SIZE_MAX - FC_LINE) / size) return NULL;
        return fc_at_line(its->calloc(its->ctx, 1, count * size + FC_LINE));
    }

    static void fc_line_free(void *numpy, void *block, size_t size) {
        PyDataMemAllocator *its = numpy;
        if (block) its->free(its->ctx, ((char **)block)[-1], size + FC_LINE);
    }

    static void *fc_line_realloc(void *numpy, void *block, size_t size) {
        PyDataMemAllocator *its = numpy;
        if (!block) return fc_line_malloc(numpy, size);
        if (size > SIZE_MAX - FC_LINE) return NULL;
        char *memory = ((char **)block)[-1];
        const size_t before = (size_t)((char *)block - memory);
        memory = its->realloc(its->ctx, memory, size + FC_LINE);
        if (!memory) return NULL;
        const size_t now = FC_LINE - (size_t)memory % FC_LINE;
        if (now != before) memmove(memory + now, memory + before, size);
        return fc_at_line(memory);
    }

    static PyDataMem_Handler fc_line_handler = {
        "fastconv", 1, {NULL, fc_line_malloc, fc_line_calloc, fc_line_realloc, fc_line_free}};

    static PyObject *fc_numpys_handler(void) {
        Py_INCREF(PyDataMem_DefaultHandler);
        return PyDataMem_DefaultHandler;
    }

    static PyObject *fc_handler_of_lines(void) {
        PyDataMem_Handler *numpys = PyCapsule_GetPointer(PyDataMem_DefaultHandler, "mem_handler");
        if (!numpys) return NULL;
        fc_line_handler.allocator.ctx = &numpys->allocator;
        return PyCapsule_New(&fc_line_handler, "mem_handler", NULL);
    }
    """
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
