"""NumPy arrays and the planner's tuples as the C side takes them."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastconv._cpu._core cimport (
    FC_BF16, FC_F16, FC_F32, FC_F64, FC_I32, fc_dtype, fc_filters, fc_part, fc_problem, fc_sum, fc_tensor, fc_winograd,
)


cdef inline fc_dtype dtype_of(str name) except *:
    if name == "float32":
        return FC_F32
    if name == "float64":
        return FC_F64
    if name == "int32":
        return FC_I32
    if name == "float16":
        return FC_F16
    if name == "bfloat16":
        return FC_BF16
    raise ValueError(f"dtype: {name!r} is not computed in C")


cdef inline fc_problem problem_of(values):
    cdef fc_problem p
    (p.n, p.h, p.w, p.c, p.kh, p.kw, p.f, p.oh, p.ow, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w,
     p.pad_top, p.pad_bottom, p.pad_left, p.pad_right, p.groups) = values
    return p


cdef inline fc_sum sum_of(values):
    cdef fc_sum sum
    (sum.folded, sum.runs, sum.run_length, sum.block_runs, sum.chunk) = values
    return sum


cdef inline fc_winograd winograd_of(values):
    cdef fc_winograd winograd
    (winograd.rows, winograd.columns, winograd.block, winograd.halves) = values or (0, 0, 0, 0)
    return winograd


cdef inline fc_part part_of(part):
    """Where the planner's Part takes place."""
    cdef fc_part place
    (_, place.x_row, place.x_column, place.y_row, place.y_column, place.y_step_h, place.y_step_w,
     place.tap_row, place.tap_column, place.tap_step_h, place.tap_step_w, place.group) = part
    return place


cdef inline int raise_changed() except -1:
    raise ValueError("input: an array changed its shape, its dtype or its memory during the call")


cdef inline int check_dense(array, int number, int64_t elements, bint written) except -1:
    """Raises unless C may take it for so many elements, one after the other, of the dtype with this number."""
    if not isinstance(array, cnp.ndarray):
        raise_changed()
    cdef cnp.ndarray a = <cnp.ndarray>array
    cdef bint fits = cnp.PyArray_TYPE(a) == number and cnp.PyArray_SIZE(a) == elements
    if not (fits and (cnp.PyArray_ISCARRAY(a) if written else cnp.PyArray_ISCARRAY_RO(a))):
        raise_changed()
    return 0


cdef inline int check_strided(cnp.ndarray array, int number, int64_t n, int64_t h, int64_t w, int64_t c) except -1:
    """Raises unless C may read it as NHWC images of these sizes, with any strides."""
    if not (cnp.PyArray_TYPE(array) == number and cnp.PyArray_ISBEHAVED_RO(array) and has_shape(array, n, h, w, c)):
        raise_changed()
    return 0


cdef inline int64_t images(cnp.ndarray x):
    return cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) == 4 else 0


cdef inline int check_arrays(
    bint channels_first, const fc_problem *p, int number, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y,
    cnp.ndarray result,
) except -1:
    """Raises unless C may take the arrays of a convolution for what the plan was made for.

    That was so when the plan was looked up; objects of the caller's, or other threads, may have changed them since.
    The result is one of them.
    """
    if not (
        cnp.PyArray_TYPE(x) == cnp.PyArray_TYPE(w) == cnp.PyArray_TYPE(y) == number
        and cnp.PyArray_ISBEHAVED_RO(x) and cnp.PyArray_ISBEHAVED_RO(w) and cnp.PyArray_ISBEHAVED_RO(y)
        and cnp.PyArray_ISCARRAY(result)
        and is_image(channels_first, x, p.n, p.h, p.w, p.c)
        and is_image(channels_first, y, p.n, p.oh, p.ow, p.f)
        and has_shape(w, p.kh, p.kw, p.c // p.groups, p.f)
    ):
        raise_changed()
    return 0


cdef inline bint is_image(bint channels_first, cnp.ndarray array, int64_t n, int64_t h, int64_t w, int64_t c):
    return has_shape(array, n, c, h, w) if channels_first else has_shape(array, n, h, w, c)


cdef inline bint has_shape(cnp.ndarray array, int64_t a, int64_t b, int64_t c, int64_t d):
    cdef cnp.npy_intp *sizes = cnp.PyArray_DIMS(array)
    return cnp.PyArray_NDIM(array) == 4 and sizes[0] == a and sizes[1] == b and sizes[2] == c and sizes[3] == d


cdef inline fc_tensor tensor(cnp.ndarray array, fc_dtype dtype, bint channels_first, int64_t h, int64_t w, int64_t c):
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


cdef inline fc_filters filters_of(cnp.ndarray array, int64_t group_width):
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
