"""Depthwise and separable convolution: every channel with filters of its own, and the gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import array_of, as_array, channels_first, shape_of
from fastconv._backend import is_array, on_its_device
from fastconv._prepared import PreparedFilters
from fastconv._types import Activation, ImageFormat, IntsLike, PaddingLike
from fastconv.nn._conv import conv2d
from fastconv.nn._gradient import conv2d_backprop_filter, input_gradient


def _as_groups(name: str, filters: Any) -> Any:
    """Depthwise filters (KH, KW, C, M) as those of a convolution in C groups, (KH, KW, 1, C * M)."""
    bank = filters if type(filters) is PreparedFilters else as_array(name, filters)
    if bank.ndim != 4:
        raise ValueError(f"{name}: must be 4-dimensional, but has {bank.ndim} dimensions (shape {bank.shape})")
    return bank.reshape((*bank.shape[:2], 1, bank.shape[2] * bank.shape[3]))


def _check_depth(names: tuple[str, str], image_shape: tuple[int, ...], filter_shape: Any, first: bool) -> None:
    if len(image_shape) != 4:
        raise ValueError(
            f"{names[0]}: must be 4-dimensional, but has {len(image_shape)} dimensions"
            f" (shape {image_shape}, {names[1]} shape {tuple(filter_shape)})"
        )
    depth = image_shape[1 if first else 3]
    if depth != filter_shape[2]:
        raise ValueError(
            f"{names[1]}: its depth, {filter_shape[2]}, must equal that of {names[0]}, {depth}"
            f" ({names[0]} shape {image_shape}, {names[1]} shape {tuple(filter_shape)})"
        )


@on_its_device
def depthwise_conv2d(
    input: ArrayLike,
    filter: ArrayLike,
    strides: IntsLike,
    padding: PaddingLike,
    data_format: ImageFormat | None = None,
    dilations: IntsLike | None = None,
    name: str | None = None,
    *,
    bias: ArrayLike | None = None,
    activation: Activation | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Depthwise 2-D convolution: every channel is convolved with M filters of its own.

    ``y[n, oy, ox, c * M + m] = sum over i, j of
    x[n, oy * stride_h + i * dilation_h - pad_top, ox * stride_w + j * dilation_w - pad_left, c] * filter[i, j, c, m]``

    Parameters
    ----------
    input : array_like, shape (N, H, W, C), or (N, C, H, W) with ``data_format="NCHW"``
        Images, of a dtype that ``conv2d`` takes.
    filter : array_like, shape (KH, KW, C, M)
        Cast to the input's dtype.
    strides, padding, data_format, dilations
        As for ``conv2d``. Unlike in TensorFlow, strides may differ and go with dilations.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    bias, activation : optional
        As for ``conv2d``.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape (N, OH, OW, C * M), or (N, C * M, OH, OW), of the input's dtype.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``conv2d`` raises them, or if the depths differ.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/depthwise_conv2d

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> image = np.ones((1, 4, 4, 2), np.float32)
    >>> box_and_twice = np.stack([np.full((3, 3), 1.0), np.full((3, 3), 2.0)], axis=-1)
    >>> nn.depthwise_conv2d(image, box_and_twice[..., None], strides=1, padding="VALID")[0, 0, 0]
    array([ 9., 18.], dtype=float32)
    """
    x, w = array_of("input", input), _as_groups("filter", filter)
    _check_depth(("input", "filter"), x.shape, np.shape(filter), channels_first(data_format))
    return conv2d(x, w, strides, padding, data_format, dilations, bias=bias, activation=activation, out=out)


@on_its_device
def depthwise_conv2d_backprop_input(
    input_sizes: ArrayLike,
    filter: ArrayLike,
    out_backprop: ArrayLike,
    strides: IntsLike,
    padding: PaddingLike,
    data_format: ImageFormat | None = "NHWC",
    dilations: IntsLike = (1, 1, 1, 1),
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of a depthwise convolution with respect to its input.

    Parameters
    ----------
    input_sizes : sequence of 4 ints
        The shape of the convolution's input, in the order of `data_format`.
    filter : array_like, shape (KH, KW, C, M)
        As for ``depthwise_conv2d``.
    out_backprop : array_like, shape (N, OH, OW, C * M), or (N, C * M, OH, OW) with ``data_format="NCHW"``
        The gradient with respect to the convolution's output; cast to the dtype of `filter`.
    strides, padding, data_format, dilations
        As for ``depthwise_conv2d``. Unlike in TensorFlow, dilations are honored.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape `input_sizes`, of the dtype of `filter`.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``conv2d_backprop_input`` raises them, or if the depths differ.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/depthwise_conv2d_backprop_input

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> filters = np.array([1, 10], np.float32).reshape(1, 1, 2, 1)
    >>> dy = np.ones((1, 1, 1, 2), np.float32)
    >>> nn.depthwise_conv2d_backprop_input([1, 1, 1, 2], filters, dy, strides=1, padding="SAME")[0, 0, 0]
    array([ 1., 10.], dtype=float32)
    """
    bank: Any = filter if type(filter) is PreparedFilters else array_of("filter", filter)
    w = _as_groups("filter", bank)
    sizes = shape_of("input_sizes", input_sizes)
    _check_depth(("input_sizes", "filter"), sizes, bank.shape, channels_first(data_format))
    return input_gradient(
        ("input_sizes", sizes),
        ("filter", w),
        ("out_backprop", out_backprop),
        True,
        strides,
        padding,
        data_format,
        dilations,
        out,
    )


@on_its_device
def depthwise_conv2d_backprop_filter(
    input: ArrayLike,
    filter_sizes: Sequence[int],
    out_backprop: ArrayLike,
    strides: IntsLike,
    padding: PaddingLike,
    data_format: ImageFormat | None = "NHWC",
    dilations: IntsLike = (1, 1, 1, 1),
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of a depthwise convolution with respect to its filters.

    Parameters
    ----------
    input : array_like, shape (N, H, W, C), or (N, C, H, W) with ``data_format="NCHW"``
        The convolution's input.
    filter_sizes : sequence of 4 ints
        The shape of the filters, (KH, KW, C, M).
    out_backprop : array_like, shape (N, OH, OW, C * M), or (N, C * M, OH, OW) with ``data_format="NCHW"``
        The gradient with respect to the convolution's output; cast to the input's dtype.
    strides, padding, data_format, dilations
        As for ``depthwise_conv2d``. Unlike in TensorFlow, dilations are honored.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape `filter_sizes`, of the input's dtype.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``conv2d_backprop_filter`` raises them, or if the depths differ.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/depthwise_conv2d_backprop_filter

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    >>> dy = np.ones((1, 2, 2, 2), np.float32)
    >>> nn.depthwise_conv2d_backprop_filter(x, [1, 1, 2, 1], dy, strides=1, padding="SAME").ravel()
    array([12., 16.], dtype=float32)
    """
    x, sizes = array_of("input", input), shape_of("filter_sizes", filter_sizes)
    if len(sizes) != 4:
        raise ValueError(f"filter_sizes: should hold 4 sizes, but {sizes} has {len(sizes)}")
    _check_depth(("input", "filter_sizes"), x.shape, sizes, channels_first(data_format))
    groups = (*sizes[:2], 1, sizes[2] * sizes[3])
    flat: Any = out
    if is_array(out) and flat.shape == sizes and flat.flags.c_contiguous:
        flat = flat.reshape(groups)
    elif is_array(out) and flat.shape != sizes:
        raise ValueError(f"out: has shape {flat.shape}, but the result has shape {sizes}")
    result = conv2d_backprop_filter(
        x, groups, out_backprop, strides, padding, data_format=data_format, dilations=dilations, out=flat
    )
    return result.reshape(sizes) if out is None else out


@on_its_device
def separable_conv2d(
    input: ArrayLike,
    depthwise_filter: ArrayLike,
    pointwise_filter: ArrayLike,
    strides: IntsLike,
    padding: PaddingLike,
    data_format: ImageFormat | None = None,
    dilations: IntsLike | None = None,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Separable 2-D convolution: a depthwise convolution, then a 1x1 convolution over its channels.

    Parameters
    ----------
    input : array_like, shape (N, H, W, C), or (N, C, H, W) with ``data_format="NCHW"``
        Images, of a dtype that ``conv2d`` takes.
    depthwise_filter : array_like, shape (KH, KW, C, M)
        As for ``depthwise_conv2d``.
    pointwise_filter : array_like, shape (1, 1, C * M, F)
        As for ``conv2d``; its depth may also be a fraction 1 / groups of C * M.
    strides, padding, data_format, dilations
        As for ``depthwise_conv2d``.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape (N, OH, OW, F), or (N, F, OH, OW), of the input's dtype.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``depthwise_conv2d`` raises them, or if `pointwise_filter` is not 1x1.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/separable_conv2d

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> image = np.ones((1, 3, 3, 2), np.float32)
    >>> box, both = np.ones((3, 3, 2, 1), np.float32), np.ones((1, 1, 2, 1), np.float32)
    >>> nn.separable_conv2d(image, box, both, strides=1, padding="VALID").item()
    18.0
    """
    shape = np.shape(pointwise_filter)
    if len(shape) != 4 or shape[:2] != (1, 1):
        raise ValueError(f"pointwise_filter: must have shape (1, 1, C * M, F), but has {shape}")
    between = depthwise_conv2d(input, depthwise_filter, strides, padding, data_format, dilations)
    return conv2d(between, pointwise_filter, 1, "VALID", data_format, out=out)
