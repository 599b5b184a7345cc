"""The gradients of a convolution with respect to its input and to its filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import channels_first, geometry, image_sizes, operands, shape_of, tensors
from fastconv._backend import backend_of
from fastconv._epilogue import epilogue_arguments
from fastconv._plan import channels_of
from fastconv._prepared import PreparedFilters, check_fits
from fastconv._types import Activation, ImageFormat, IntsLike, PaddingLike


def input_gradient(
    sizes: tuple[str, Any],
    filters: tuple[str, Any],
    gradient: tuple[str, Any],
    cast_to_filters: bool,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilations: Any,
    out: np.ndarray | None,
    bias: ArrayLike | None = None,
    activation: Activation | None = None,
) -> np.ndarray:
    """Backprop-input of three arguments that have the caller's names; the dtype is the filters' or the gradient's.

    It takes whatever ``conv2d_backprop_input`` and the transposed convolutions were given, hence so many arguments.
    """
    w: Any = filters[1]
    dy: Any = gradient[1]
    packings = None
    if type(w) is PreparedFilters:
        w, packings = w.array, w.packings
    backend = backend_of(w if cast_to_filters else dy)
    ready = backend.are_behaved(w, dy)
    if not ready:
        geometry(strides, padding, data_format, dilations)  # its errors come before those of the tensors
        check_fits(*filters, filters if cast_to_filters else gradient)
        if cast_to_filters:
            w, dy = operands(w, dy, (filters[0], gradient[0]))
        else:
            dy, w = operands(dy, w, (gradient[0], filters[0]))
    for (name, _), array in zip((filters, gradient), (w, dy)):
        if array.ndim != 4:
            raise ValueError(
                f"{name}: must be 4-dimensional, but has {array.ndim} dimensions"
                f" ({filters[0]} shape {w.shape}, {gradient[0]} shape {dy.shape})"
            )
    shape = image_sizes(*sizes, dy.shape[0], w.shape[2], channels_first(data_format))
    arrays = (w, dy) if ready else (w, dy.shape) if cast_to_filters else (w.shape, dy)  # the dtype is that of the array
    try:
        run = backend.plan("backprop_input", (shape, *arrays), strides, padding, data_format, dilations)
    except ValueError as error:
        if str(error).startswith(("input: ", "filters: ", "out_backprop: ")):
            raise ValueError(
                f"{sizes[0]}: {shape} does not go with {gradient[0]} of shape {dy.shape} and {filters[0]} of shape"
                f" {w.shape}: {error}"
            ) from None
        raise
    if not ready:
        w, dy = tensors(w, dy) if cast_to_filters else tensors(dy, w)[::-1]
    epilogue = epilogue_arguments(
        packings, bias, activation, gradient if cast_to_filters else (gradient[0], dy), channels_of(run)
    )
    return run(w, dy, out, (filters[1], gradient[1], *([] if bias is None else [bias])), epilogue)


def conv2d_backprop_input(
    input_sizes: ArrayLike,
    filter: ArrayLike | None = None,
    out_backprop: ArrayLike | None = None,
    strides: IntsLike | None = None,
    padding: PaddingLike | None = None,
    use_cudnn_on_gpu: bool = True,
    data_format: ImageFormat | None = "NHWC",
    dilations: IntsLike = (1, 1, 1, 1),
    name: str | None = None,
    filters: ArrayLike | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of a convolution with respect to its input.

    Every output adds its gradient, times the filters, to the cells of its window:
    ``dx[n, oy * stride_h + i * dilation_h - pad_top, ox * stride_w + j * dilation_w - pad_left, c] +=
    sum over f of dy[n, oy, ox, f] * filter[i, j, c, f]``

    Parameters
    ----------
    input_sizes : sequence of 4 or 2 ints
        The shape of the convolution's input, (N, H, W, C) in the order of `data_format`; or (H, W),
        with as many images as `out_backprop` and as many channels as `filter`.
    filter : array_like, shape (KH, KW, C / groups, F)
        The filters, as for ``conv2d``.
    out_backprop : array_like, shape (N, OH, OW, F), or (N, F, OH, OW) with ``data_format="NCHW"``
        The gradient with respect to the convolution's output; cast to the dtype of `filter`.
    strides, padding, data_format, dilations
        As for ``conv2d``.
    use_cudnn_on_gpu : bool, optional
        Accepted for TensorFlow's sake, and ignored.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    filters : array_like, optional
        Another name of `filter`.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape `input_sizes`, of the dtype of `filter`. Its bits are as reproducible as those of ``conv2d``.

    Raises
    ------
    ValueError
        If `out_backprop` does not have the shape of the convolution's output, or a value is out of range.
    TypeError
        If an argument is missing or of the wrong type, or a dtype is not supported.
    NotImplementedError
        If strides or dilations differ from 1 on the batch or depth axis.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/compat/v1/nn/conv2d_backprop_input

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> filters = np.arange(1, 5, dtype=np.float32).reshape(2, 2, 1, 1)
    >>> dy = np.ones((1, 2, 2, 1), np.float32)
    >>> nn.conv2d_backprop_input([1, 3, 3, 1], filters, dy, strides=1, padding="VALID")[0, :, :, 0]
    array([[ 1.,  3.,  2.],
           [ 4., 10.,  6.],
           [ 3.,  7.,  4.]], dtype=float32)
    """
    if (filter is None) == (filters is None):
        raise TypeError("filter: give it once, as filter or as filters")
    required("out_backprop", out_backprop)
    required("strides", strides)
    weights = filters if filter is None else filter
    return input_gradient(
        ("input_sizes", input_sizes),
        ("filter", weights),
        ("out_backprop", out_backprop),
        True,
        strides,
        padding,
        data_format,
        dilations,
        out,
    )


def required(name: str, value: object) -> None:
    """Raises where an argument is missing that TensorFlow's order makes optional."""
    if value is None:
        raise TypeError(f"{name}: is missing")


def conv2d_backprop_filter(
    input: ArrayLike,
    filter_sizes: Sequence[int],
    out_backprop: ArrayLike,
    strides: IntsLike,
    padding: PaddingLike,
    use_cudnn_on_gpu: bool = True,
    data_format: ImageFormat | None = "NHWC",
    dilations: IntsLike = (1, 1, 1, 1),
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of a convolution with respect to its filters.

    Every tap gets the sum, over all outputs, of the cell that it meets times the output's gradient:
    ``dw[i, j, c, f] = sum over n, oy, ox of
    x[n, oy * stride_h + i * dilation_h - pad_top, ox * stride_w + j * dilation_w - pad_left, c] * dy[n, oy, ox, f]``

    Parameters
    ----------
    input : array_like, shape (N, H, W, C), or (N, C, H, W) with ``data_format="NCHW"``
        The convolution's input, as for ``conv2d``.
    filter_sizes : sequence of 4 ints
        The shape of the filters, (KH, KW, C / groups, F).
    out_backprop : array_like, shape (N, OH, OW, F), or (N, F, OH, OW) with ``data_format="NCHW"``
        The gradient with respect to the convolution's output; cast to the dtype of `input`.
    strides, padding, data_format, dilations
        As for ``conv2d``.
    use_cudnn_on_gpu : bool, optional
        Accepted for TensorFlow's sake, and ignored.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape `filter_sizes`, of the dtype of `input`. The sum is formed in blocks of about 128 pixels,
        whose sums are then added, so its error does not grow with the image; its bits are the same
        for any number of threads, memory layout and CPU with fused multiply-add.

    Raises
    ------
    ValueError
        If `out_backprop` does not have the shape of the convolution's output, or a value is out of range.
    TypeError
        If an argument is of the wrong type, or a dtype is not supported.
    NotImplementedError
        If strides or dilations differ from 1 on the batch or depth axis.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/compat/v1/nn/conv2d_backprop_filter

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    >>> dy = np.ones((1, 2, 2, 1), np.float32)
    >>> nn.conv2d_backprop_filter(x, [2, 2, 1, 1], dy, strides=1, padding="VALID")[:, :, 0, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    x: Any = input
    dy: Any = out_backprop
    backend = backend_of(x)
    ready = backend.are_behaved(x, dy)
    if not ready:
        geometry(strides, padding, data_format, dilations)  # its errors come before those of the tensors
        x, dy = operands(input, out_backprop, ("input", "out_backprop"))
    shape = shape_of("filter_sizes", filter_sizes)
    if x.ndim != 4 or len(shape) != 4:
        shapes = f"input shape {x.shape}, filter_sizes {shape}, out_backprop shape {dy.shape}"
        if x.ndim != 4:
            raise ValueError(f"input: must be 4-dimensional, but has {x.ndim} dimensions ({shapes})")
        raise ValueError(f"filter_sizes: should hold 4 sizes, but {shape} has {len(shape)} ({shapes})")
    run = backend.plan(
        "backprop_filter", (x, shape, dy if ready else dy.shape), strides, padding, data_format, dilations
    )
    if not ready:
        x, dy = tensors(x, dy)
    return run(x, dy, out, (input, out_backprop))
