"""Convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import geometry, operands, tensors
from fastconv._backend import backend_of
from fastconv._epilogue import epilogue_arguments
from fastconv._plan import channels_of
from fastconv._prepared import PreparedFilters, check_fits
from fastconv._types import Activation, ImageFormat, IntsLike, PaddingLike


def conv2d(
    input: ArrayLike,
    filters: ArrayLike,
    strides: IntsLike,
    padding: PaddingLike,
    data_format: ImageFormat | None = "NHWC",
    dilations: IntsLike | None = None,
    name: str | None = None,
    *,
    bias: ArrayLike | None = None,
    activation: Activation | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """2-D convolution (cross-correlation: the filters are not flipped) of images with filters.

    ``y[n, oy, ox, f] = sum over i, j, c of
    x[n, oy * stride_h + i * dilation_h - pad_top, ox * stride_w + j * dilation_w - pad_left, c] * filters[i, j, c, f]``

    Parameters
    ----------
    input : array_like, shape (..., H, W, C), or (..., C, H, W) with ``data_format="NCHW"``
        Images, of dtype float16, bfloat16, float32, float64 or int32, in any memory layout. At least
        one dimension comes before the last three; all of those are batch dimensions. A list of
        Python floats is float32, one of integers int32.
    filters : array_like, shape (KH, KW, C / groups, F)
        Cast to the input's dtype. Where its depth is a fraction 1 / groups of the input's, each group
        of input channels is convolved with its own F / groups filters.
    strides : int or sequence of 1, 2 or 4 ints
        Cells from window to window: both axes, (height, width), or in the order of `data_format`.
    padding : "SAME", "VALID" or four pairs of ints
        "SAME": zeros all around such that the output has ceil(size / stride) cells, the odd one after;
        "VALID": none; else the cells before and after each axis, in the order of `data_format`.
    data_format : {"NHWC", "NCHW"}, optional
        The layout of `input` and of the result. Filters are (KH, KW, C, F) in both.
    dilations : int or sequence of 1, 2 or 4 ints, optional
        Cells from tap to tap; 1 if omitted. May be combined with strides.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    bias : array_like, shape (F,), optional
        Added to each output channel; cast to the input's dtype. Like `activation`, applied while the
        sums are in the cache, in float32 for the half precisions.
    activation : str, optional
        Applied to each element at the end: "relu", "relu6", "leaky_relu" (slope 0.2), "silu",
        "hard_swish", "sigmoid" or "tanh"; int32 takes the first two.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape (..., OH, OW, F), or (..., F, OH, OW), of the input's dtype; `out` if that was given.
        Sums are formed in float32 for the half precisions and rounded once; int32 wraps. Every
        bit is the same for any number of threads, any batch and memory layout, and on any CPU with
        fused multiply-add.

    Raises
    ------
    ValueError
        If shapes do not fit, the filter is larger than the padded input, or a value is out of range.
    TypeError
        If an argument is of the wrong type, or a dtype is not supported.
    NotImplementedError
        If strides or dilations differ from 1 on the batch or depth axis.

    See Also
    --------
    fastconv.output_shape : The shape of the result, from the shapes of the inputs.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/conv2d

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> box = np.full((3, 3, 1, 1), 1 / 9, np.float32)
    >>> nn.conv2d(image, box, strides=1, padding="VALID").round(3)[0, :, :, 0]
    array([[ 5.,  6.],
           [ 9., 10.]], dtype=float32)
    """
    x: Any = input
    w: Any = filters
    packings = None
    if type(w) is PreparedFilters:
        w, packings = w.array, w.packings
    backend = backend_of(x)
    ready = backend.are_behaved(x, w)
    if not ready:
        geometry(strides, padding, data_format, dilations)  # its errors come before those of the tensors
        check_fits("filters", filters, ("input", input))
        x, w = operands(input, w)
    run = backend.plan("forward", (x, w if ready else w.shape), strides, padding, data_format, dilations)
    if not ready:
        x, w = tensors(x, w)
    if bias is None and activation is None and packings is None:
        return run(x, w, out) if out is None else run(x, w, out, (input, filters))
    epilogue = epilogue_arguments(packings, bias, activation, ("input", x), channels_of(run))
    return run(x, w, out, (input, filters) if bias is None else (input, filters, bias), epilogue)
