# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=True
"""The layers between convolutions: epilogues of whole tensors, pools, normalization and gradients of activations."""

import numpy

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastconv._cpu._core cimport (
    FC_F32, FC_F64, FC_GELU, FC_GELU_TANH, FC_HARD_SWISH, FC_I32, FC_LEAKY_RELU, FC_LINEAR, FC_NORMALIZATION_RADIUS,
    FC_RELU, FC_RELU6, FC_SIGMOID, FC_SILU, FC_TANH, fc_accumulator, fc_activation_grad, fc_dtype, fc_epilogue,
    fc_epilogue_pass, fc_normalization_call, fc_pool, kernels, run_activation_grad, run_epilogue_pass,
    run_normalization, run_pool,
)
from fastconv._cpu._tensors cimport check_dense, check_strided, dtype_of, raise_changed, tensor

cnp.import_array()

LARGEST_RADIUS = FC_NORMALIZATION_RADIUS  # that the kernel of local response normalization takes

cdef dict ACTIVATIONS = {
    None: FC_LINEAR,
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


cdef fc_epilogue epilogue_of(bias, activation, fc_dtype dtype, int64_t biases) except *:
    """The epilogue of results of this dtype, with so many biases if there are any."""
    cdef fc_epilogue epilogue
    cdef fc_dtype type = fc_accumulator(dtype)
    if bias is not None:
        check_dense(
            bias,
            cnp.NPY_FLOAT64 if type == FC_F64 else cnp.NPY_INT32 if type == FC_I32 else cnp.NPY_FLOAT32,
            biases, False,
        )
    epilogue.bias = NULL if bias is None else cnp.PyArray_DATA(<cnp.ndarray>bias)
    epilogue.bias_of_rows = False
    epilogue.activation = ACTIVATIONS[activation]
    epilogue.slope = 0.2
    return epilogue


def apply_epilogue(
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

    Its many arguments are the fields of fc_epilogue_pass (src/layers/epilogue.h).

    There is a bias for each column or, with `bias_of_rows`, for each row in turn. Both may be the same array. The slope
    is that of "leaky_relu".
    """
    cdef fc_epilogue_pass call
    cdef int number = numpy.dtype(dtype).num
    check_dense(source, number, cnp.PyArray_SIZE(result), False)
    check_dense(result, number, cnp.PyArray_SIZE(result), True)
    cdef int64_t biases = 0 if bias is None else len(bias)
    if not bias_of_rows and bias is not None and biases != columns or columns < 1:
        raise_changed()
    call.kernels = kernels()
    call.dtype = dtype_of(dtype)
    call.epilogue = epilogue_of(bias, activation, call.dtype, biases)
    call.epilogue.bias_of_rows = bias_of_rows
    call.epilogue.slope = slope
    call.biases = biases
    call.elements = cnp.PyArray_SIZE(result)
    call.columns = columns
    call.source = cnp.PyArray_DATA(source)
    call.result = cnp.PyArray_DATA(result)
    run_epilogue_pass(&call, threads)


# As in C, each tensor is an argument of its own, hence more than seven.
def pool(bint average, x, y, dy, dx, shape, windows, int threads, places=None):
    """Pools NHWC images x into y; or, from x and dy, or dy alone where `average`, computes the gradient dx.

    All but x are C-contiguous, x has its channels side by side; all are of one dtype, float32 or float64. `shape` is
    that of x, `windows` the planner's. The places of maxima, row * W + column, go to `places`, of int64, if that is
    given.
    """
    cdef fc_pool call
    cdef cnp.ndarray result = y if dy is None else dy
    memset(&call, 0, sizeof(call))
    call.kernels = kernels()
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
    run_pool(&call, threads)


# Three tensors, a result and the four factors of tf.nn's function, hence more than seven.
def normalize(x, y, dy, cnp.ndarray result, int64_t radius, double bias, double alpha, double beta, int threads):
    """Local response normalization of x along its last axis or, with the result y and its gradient dy, the gradient.

    All are C-contiguous, of one shape and dtype, float32 or float64; `radius` is 64 at most.
    """
    cdef fc_normalization_call call
    cdef int number = cnp.PyArray_TYPE(result)
    if cnp.PyArray_NDIM(result) < 1 or not cnp.PyArray_SIZE(result) or not 0 <= radius <= FC_NORMALIZATION_RADIUS:
        raise ValueError("input: has no channels, or too large a radius")
    for operand in (x, y, dy):
        if operand is not None:
            check_dense(operand, number, cnp.PyArray_SIZE(result), False)
    check_dense(result, number, cnp.PyArray_SIZE(result), True)
    call.kernels = kernels()
    call.dtype = FC_F32 if number == cnp.NPY_FLOAT32 else FC_F64
    call.operands.x = cnp.PyArray_DATA(<cnp.ndarray>x)
    call.operands.y = NULL if y is None else cnp.PyArray_DATA(<cnp.ndarray>y)
    call.operands.dy = NULL if dy is None else cnp.PyArray_DATA(<cnp.ndarray>dy)
    call.operands.result = cnp.PyArray_DATA(result)
    call.operands.channels = cnp.PyArray_DIM(result, cnp.PyArray_NDIM(result) - 1)
    call.operands.radius = radius
    call.operands.bias = bias
    call.operands.alpha = alpha
    call.operands.beta = beta
    call.pixels = cnp.PyArray_SIZE(result) // call.operands.channels
    run_normalization(&call, threads)


def activation_grad(
    str activation, double parameter, cnp.ndarray dy, cnp.ndarray x, cnp.ndarray dx, str dtype, int threads
):
    """dx becomes dy times the derivative of an activation at x.

    "relu" has the parameter for a limit (NaN: none), "silu" for its steepness; "gelu" and "gelu_tanh" have none. All
    are C-contiguous, of one size and floating dtype; dx may be dy or x.
    """
    cdef fc_activation_grad call
    cdef int number = numpy.dtype(dtype).num
    check_dense(dy, number, cnp.PyArray_SIZE(dx), False)
    check_dense(x, number, cnp.PyArray_SIZE(dx), False)
    check_dense(dx, number, cnp.PyArray_SIZE(dx), True)
    call.kernels = kernels()
    call.dtype = dtype_of(dtype)
    call.activation = ACTIVATIONS[activation]
    if call.dtype == FC_I32 or activation not in ("relu", "silu", "gelu", "gelu_tanh"):
        raise ValueError(f"activation: there is no kernel for the gradient of {activation!r} in {dtype}")
    call.parameter = parameter
    call.dy = cnp.PyArray_DATA(dy)
    call.x = cnp.PyArray_DATA(x)
    call.dx = cnp.PyArray_DATA(dx)
    call.count = cnp.PyArray_SIZE(dx)
    run_activation_grad(&call, threads)
