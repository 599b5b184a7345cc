"""The layers between convolutions: part of _core.pyx, which includes it."""


def finish(
    cnp.ndarray source,
    cnp.ndarray result,
    int64_t columns,
    bint bias_of_rows,
    str dtype,
    bias,
    activation,
    int threads,
    double slope=0.2,
):
    """The source with its bias and activation, in rows of so many elements; both arrays are C-contiguous.

    There is a bias for each column or, with `bias_of_rows`, for each row in turn. Both may be the same array. The slope
    is that of "leaky_relu".
    """
    cdef fc_finishing call
    cdef int number = numpy.dtype(dtype).num
    check_dense(source, number, cnp.PyArray_SIZE(result), False)
    check_dense(result, number, cnp.PyArray_SIZE(result), True)
    cdef int64_t biases = 0 if bias is None else len(bias)
    if not bias_of_rows and bias is not None and biases != columns or columns < 1:
        changed()
    call.kernels = chosen
    call.dtype = DTYPES[dtype]
    call.epilogue = epilogue_of(bias, activation, call.dtype, biases)
    call.epilogue.bias_of_rows = bias_of_rows
    call.epilogue.slope = slope
    call.biases = biases
    call.elements = cnp.PyArray_SIZE(result)
    call.columns = columns
    call.source = cnp.PyArray_DATA(source)
    call.result = cnp.PyArray_DATA(result)
    fc_finishing_split(&call)
    run_tasks(finishing_task, &call, call.tasks, threads)


cdef void finishing_task(const void *call, int64_t task, int slot) noexcept nogil:
    fc_finishing_task(<const fc_finishing *>call, task)


def pool(bint average, x, y, dy, dx, shape, windows, int threads, places=None):
    """Pools NHWC images x into y; or, from x and dy, or dy alone where `average`, computes the gradient dx.

    All but x are C-contiguous, x has its channels side by side; all are of one dtype, float32 or float64. `shape` is
    that of x, `windows` the planner's. The places of maxima, row * W + column, go to `places`, of int64, if that is
    given.
    """
    cdef fc_pool call
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
    cdef int number = cnp.PyArray_TYPE(result)
    cdef int64_t cells = call.n * call.oh * call.ow * call.c
    if x is not None:
        check_strided(<cnp.ndarray>x, number, call.n, call.h, call.w, call.c)
    check_dense(result, number, cells, dy is None)
    if dx is not None:
        check_dense(dx, number, call.n * call.h * call.w * call.c, True)
    if places is not None:
        check_dense(places, cnp.NPY_INT64, cells, True)
        call.places = <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>places)
    if x is not None:
        call.x = tensor(<cnp.ndarray>x, call.dtype, False, call.h, call.w, call.c)
    if dy is None:
        call.y = cnp.PyArray_DATA(<cnp.ndarray>y)
    else:
        call.dy = cnp.PyArray_DATA(<cnp.ndarray>dy)
        call.dx = cnp.PyArray_DATA(<cnp.ndarray>dx)
    fc_pool_split(&call, threads)
    run_tasks(pool_task, &call, call.tasks, threads)


cdef void pool_task(const void *call, int64_t task, int slot) noexcept nogil:
    fc_pool_task(<const fc_pool *>call, task)


def normalize(x, y, dy, cnp.ndarray result, int64_t radius, double bias, double alpha, double beta, int threads):
    """Local response normalization of x along its last axis or, with the result y and its gradient dy, the gradient.

    All are C-contiguous, of one shape and dtype, float32 or float64; `radius` is 64 at most.
    """
    cdef normalization_job job
    cdef fc_normalization call
    cdef int number = cnp.PyArray_TYPE(result)
    if cnp.PyArray_NDIM(result) < 1 or not cnp.PyArray_SIZE(result) or not 0 <= radius <= 64:
        raise ValueError("input: has no channels, or too large a radius")
    for operand in (x, y, dy):
        if operand is not None:
            check_dense(operand, number, cnp.PyArray_SIZE(result), False)
    check_dense(result, number, cnp.PyArray_SIZE(result), True)
    job.kernels = chosen
    job.dtype = FC_F32 if cnp.PyArray_TYPE(result) == cnp.NPY_FLOAT32 else FC_F64
    call.x = cnp.PyArray_DATA(<cnp.ndarray>x)
    call.y = NULL if y is None else cnp.PyArray_DATA(<cnp.ndarray>y)
    call.dy = NULL if dy is None else cnp.PyArray_DATA(<cnp.ndarray>dy)
    call.result = cnp.PyArray_DATA(result)
    call.channels = cnp.PyArray_DIM(result, cnp.PyArray_NDIM(result) - 1)
    call.radius = radius
    call.bias = bias
    call.alpha = alpha
    call.beta = beta
    job.call = &call
    job.pixels = cnp.PyArray_SIZE(result) // call.channels
    job.each = max(1, ELEMENTS // call.channels)
    run_tasks(normalization_task, &job, (job.pixels + job.each - 1) // job.each, threads)


cdef struct normalization_job:
    const fc_kernels *kernels
    fc_dtype dtype
    const fc_normalization *call
    int64_t pixels
    int64_t each  # pixels of a task


cdef void normalization_task(const void *job, int64_t task, int slot) noexcept nogil:
    cdef const normalization_job *j = <const normalization_job *>job
    fc_normalize(j.kernels, j.dtype, j.call, task * j.each, min(j.pixels, (task + 1) * j.each))


def activation_grad(
    str activation, double parameter, cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dx, str dtype, int threads
):
    """dx becomes dy times the derivative of an activation at x.

    "relu" has the parameter for a limit (NaN: none), "silu" for its steepness; "gelu" and "gelu_tanh" have none. All
    are C-contiguous, of one size and floating dtype; dx may be dy or x.
    """
    cdef activation_grad_job job
    cdef int number = numpy.dtype(dtype).num
    check_dense(dy, number, cnp.PyArray_SIZE(dx), False)
    check_dense(x, number, cnp.PyArray_SIZE(dx), False)
    check_dense(dx, number, cnp.PyArray_SIZE(dx), True)
    job.call.kernels = chosen
    job.call.dtype = DTYPES[dtype]
    job.call.activation = {"relu": FC_RELU, "silu": FC_SILU, "gelu": FC_GELU, "gelu_tanh": FC_GELU_TANH}[activation]
    if job.call.dtype == FC_I32:
        changed()
    job.call.parameter = parameter
    job.call.dy = cnp.PyArray_DATA(dy)
    job.call.x = cnp.PyArray_DATA(x)
    job.call.dx = cnp.PyArray_DATA(dx)
    job.count = cnp.PyArray_SIZE(dx)
    run_tasks(activation_grad_task, &job, (job.count + ELEMENTS - 1) // ELEMENTS, threads)


cdef struct activation_grad_job:
    fc_activation_grad call
    int64_t count


cdef void activation_grad_task(const void *job, int64_t task, int slot) noexcept nogil:
    cdef const activation_grad_job *j = <const activation_grad_job *>job
    cdef int64_t first = task * ELEMENTS
    fc_activation_grad_range(&j.call, first, min(j.count, first + ELEMENTS))


cdef int64_t ELEMENTS = 1 << 14  # of a task: a gradient, a feature and a result fit into a second cache
