"""The layers between convolutions: part of _cpu.pyx, which includes it."""


def erf(values):
    """The error function of every element, in float64."""
    cdef cnp.ndarray result = numpy.array(values, dtype=numpy.float64, order="C")
    cdef double *elements = <double *>cnp.PyArray_DATA(result)
    cdef int64_t count = cnp.PyArray_SIZE(result)
    cdef int64_t i
    for i in range(count):
        elements[i] = c_erf(elements[i])
    return result


def finish(
    cnp.ndarray source,
    cnp.ndarray result,
    int64_t columns,
    bint bias_of_rows,
    str dtype,
    bias,
    activation,
    int threads,
):
    """The source with its bias and activation, in rows of so many elements; both arrays are C-contiguous.

    There is a bias for each column or, with `bias_of_rows`, for each row in turn. Both may be the same array.
    """
    cdef fc_finishing call
    cdef int64_t task
    call.kernels = chosen
    call.dtype = DTYPES[dtype]
    call.epilogue = epilogue_of(bias, activation)
    call.epilogue.bias_of_rows = bias_of_rows
    call.biases = 0 if bias is None else len(bias)
    call.elements = cnp.PyArray_SIZE(result)
    call.columns = columns
    call.source = cnp.PyArray_DATA(source)
    call.result = cnp.PyArray_DATA(result)
    fc_finishing_split(&call)
    threads = <int>min(<int64_t>threads, call.tasks)
    with nogil:
        if threads == 1:  # not a team of one, which may hang in a forked child
            for task in range(call.tasks):
                fc_finishing_task(&call, task)
        else:
            for task in prange(call.tasks, num_threads=threads, schedule="static"):
                fc_finishing_task(&call, task)


def pool(bint average, x, y, dy, dx, shape, windows, int threads):
    """Pools NHWC images x into y; or, from x and dy, or dy alone where `average`, computes the gradient dx.

    All but x are C-contiguous, x has its channels side by side; all are of one dtype, float32 or float64. `shape` is
    that of x, `windows` the planner's.
    """
    cdef fc_pool call
    cdef int64_t task
    cdef cnp.ndarray result = y if dy is None else dy
    memset(&call, 0, sizeof(call))
    call.kernels = chosen
    call.dtype = FC_F32 if cnp.PyArray_TYPE(result) == cnp.NPY_FLOAT32 else FC_F64
    call.average = average
    call.gradient = dy is not None
    (call.n, call.h, call.w, call.c) = shape
    (call.kh, call.kw) = windows.size
    (call.stride_h, call.stride_w) = windows.stride
    (call.oh, call.ow) = windows.out
    (call.pad_top, call.pad_left) = windows.before
    if x is not None:
        call.x = tensor(<cnp.ndarray>x, call.dtype, False, call.h, call.w, call.c)
    if dy is None:
        call.y = cnp.PyArray_DATA(<cnp.ndarray>y)
    else:
        call.dy = cnp.PyArray_DATA(<cnp.ndarray>dy)
        call.dx = cnp.PyArray_DATA(<cnp.ndarray>dx)
    fc_pool_split(&call, threads)
    threads = <int>min(<int64_t>threads, call.tasks)
    with nogil:
        if threads == 1:  # not a team of one, which may hang in a forked child
            for task in range(call.tasks):
                fc_pool_task(&call, task)
        else:
            for task in prange(call.tasks, num_threads=threads, schedule="static"):
                fc_pool_task(&call, task)


def normalize(x, y, dy, cnp.ndarray result, int64_t radius, double bias, double alpha, double beta, int threads):
    """Local response normalization of x along its last axis or, with the result y and its gradient dy, the gradient.

    All are C-contiguous, of one shape and dtype, float32 or float64; `radius` is 64 at most.
    """
    cdef fc_normalization call
    cdef fc_dtype dtype = FC_F32 if cnp.PyArray_TYPE(result) == cnp.NPY_FLOAT32 else FC_F64
    cdef int64_t each, pixels, tasks, task
    call.x = cnp.PyArray_DATA(<cnp.ndarray>x)
    call.y = NULL if y is None else cnp.PyArray_DATA(<cnp.ndarray>y)
    call.dy = NULL if dy is None else cnp.PyArray_DATA(<cnp.ndarray>dy)
    call.result = cnp.PyArray_DATA(result)
    call.channels = cnp.PyArray_DIM(result, cnp.PyArray_NDIM(result) - 1)
    call.radius = radius
    call.bias = bias
    call.alpha = alpha
    call.beta = beta
    pixels = cnp.PyArray_SIZE(result) // call.channels
    each = max(1, ELEMENTS // call.channels)
    tasks = (pixels + each - 1) // each
    threads = <int>min(<int64_t>threads, tasks)
    with nogil:
        if threads == 1:  # not a team of one, which may hang in a forked child
            fc_normalize(chosen, dtype, &call, 0, pixels)
        else:
            for task in prange(tasks, num_threads=threads, schedule="static"):
                fc_normalize(chosen, dtype, &call, task * each, min(pixels, (task + 1) * each))


def gate(cnp.ndarray dy, cnp.ndarray x, double limit, cnp.ndarray dx, int threads):
    """dx becomes dy where x is above 0 and not limit or more, else 0; NaN is no limit.

    All are C-contiguous, of one size and dtype, float32 or float64; dx may be dy.
    """
    cdef fc_dtype dtype = FC_F32 if cnp.PyArray_TYPE(dy) == cnp.NPY_FLOAT32 else FC_F64
    cdef const void *gradient = cnp.PyArray_DATA(dy)
    cdef const void *feature = cnp.PyArray_DATA(x)
    cdef void *result = cnp.PyArray_DATA(dx)
    cdef int64_t count = cnp.PyArray_SIZE(dy)
    cdef int64_t tasks = (count + ELEMENTS - 1) // ELEMENTS
    cdef int64_t task
    threads = <int>min(<int64_t>threads, tasks)
    with nogil:
        if threads == 1:  # not a team of one, which may hang in a forked child
            fc_gate(chosen, dtype, gradient, feature, limit, 0, count, result)
        else:
            for task in prange(tasks, num_threads=threads, schedule="static"):
                fc_gate(
                    chosen, dtype, gradient, feature, limit, task * ELEMENTS, min(count, (task + 1) * ELEMENTS), result
                )


cdef int64_t ELEMENTS = 1 << 14  # of a task: a gradient, a feature and a result fit into a second cache
