"""Transposed convolutions: the gradients of convolutions, used as layers of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import array_of, shape_of
from fastconv._types import Activation, ImageFormat, IntsLike, PaddingLike, RowFormat
from fastconv.nn._gradient import input_gradient
from fastconv.nn._variants import as_row, bank_as_row, positive_rate, result_as_row, row_arguments


def conv2d_transpose(
    input: ArrayLike,
    filters: ArrayLike,
    output_shape: ArrayLike,
    strides: IntsLike,
    padding: PaddingLike = "SAME",
    data_format: ImageFormat | None = "NHWC",
    dilations: IntsLike | None = None,
    name: str | None = None,
    *,
    bias: ArrayLike | None = None,
    activation: Activation | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Transposed 2-D convolution: every input cell adds its value, times the filters, to a window of the output.

    It is the gradient of ``conv2d`` with respect to its input (``conv2d_backprop_input``), with names of its own.

    Parameters
    ----------
    input : array_like, shape (N, H, W, C), or (N, C, H, W) with ``data_format="NCHW"``
        Images, of a dtype that ``conv2d`` takes.
    filters : array_like, shape (KH, KW, F / groups, C)
        Output channels before input channels; cast to the input's dtype.
    output_shape : sequence of 4 or 2 ints
        The shape of the result, (N, OH, OW, F) in the order of `data_format`, or (OH, OW). Its height and
        width must be such that ``conv2d`` with these strides and padding would give the input's.
    strides, padding, data_format, dilations
        As for ``conv2d``, from the result to the input.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    bias, activation : optional
        As for ``conv2d``; also of cells that no window reaches.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape `output_shape`, of the input's dtype. Sums that no window reaches are 0.

    Raises
    ------
    ValueError
        If shapes do not fit, or a value is out of range.
    TypeError
        If an argument is of the wrong type, or a dtype is not supported.
    NotImplementedError
        If strides or dilations differ from 1 on the batch or depth axis.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/conv2d_transpose

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> image = np.array([[1, 2], [3, 4]], np.float32).reshape(1, 2, 2, 1)
    >>> twice = np.ones((2, 2, 1, 1), np.float32)
    >>> nn.conv2d_transpose(image, twice, [4, 4], strides=2)[0, :, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.],
           [3., 3., 4., 4.],
           [3., 3., 4., 4.]], dtype=float32)
    """
    return input_gradient(
        ("output_shape", output_shape),
        ("filters", filters),
        ("input", input),
        False,
        strides,
        padding,
        data_format,
        dilations,
        out,
        bias,
        activation,
    )


def atrous_conv2d_transpose(
    value: ArrayLike,
    filters: ArrayLike,
    output_shape: ArrayLike,
    rate: IntsLike,
    padding: PaddingLike,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Transposed dilated convolution of NHWC images, with stride 1.

    Parameters
    ----------
    value : array_like, shape (N, H, W, C)
        Images, of a dtype that ``conv2d`` takes.
    filters : array_like, shape (KH, KW, F, C)
        Output channels before input channels; cast to the dtype of `value`.
    output_shape : sequence of 4 or 2 ints
        The shape of the result, (N, OH, OW, F), or (OH, OW).
    rate : int or pair of ints
        Cells from tap to tap.
    padding : "SAME" or "VALID"
        As for ``conv2d``, from the result to the input.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape `output_shape`, of the dtype of `value`.

    Raises
    ------
    ValueError
        If shapes do not fit, or a value is out of range.
    TypeError
        If an argument is of the wrong type, or a dtype is not supported.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/atrous_conv2d_transpose

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> point = np.ones((1, 1, 1, 1), np.float32)
    >>> corners = np.ones((2, 2, 1, 1), np.float32)
    >>> nn.atrous_conv2d_transpose(point, corners, [1, 3, 3, 1], rate=2, padding="VALID")[0, :, :, 0]
    array([[1., 0., 1.],
           [0., 0., 0.],
           [1., 0., 1.]], dtype=float32)
    """
    return input_gradient(
        ("output_shape", output_shape),
        ("filters", filters),
        ("value", value),
        False,
        1,
        padding,
        "NHWC",
        positive_rate(rate),
        out,
    )


def conv1d_transpose(
    input: ArrayLike,
    filters: ArrayLike,
    output_shape: ArrayLike,
    strides: IntsLike,
    padding: PaddingLike = "SAME",
    data_format: RowFormat | None = "NWC",
    dilations: IntsLike | None = None,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Transposed 1-D convolution: the gradient of ``conv1d`` with respect to its input.

    Parameters
    ----------
    input : array_like, shape (N, W, C), or (N, C, W) with ``data_format="NCW"``
        Signals, of a dtype that ``conv2d`` takes.
    filters : array_like, shape (K, F, C)
        Output channels before input channels; cast to the input's dtype.
    output_shape : sequence of 3 ints
        The shape of the result, (N, OW, F) in the order of `data_format`.
    strides, padding, data_format, dilations
        As for ``conv1d``, from the result to the input.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape `output_shape`, of the input's dtype.

    Raises
    ------
    ValueError
        If shapes do not fit, or a value is out of range.
    TypeError
        If an argument is of the wrong type, or a dtype is not supported.
    NotImplementedError
        If strides or dilations differ from 1 on the batch or depth axis.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/conv1d_transpose

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> signal = np.array([1, 2, 3], np.float32).reshape(1, 3, 1)
    >>> nn.conv1d_transpose(signal, np.ones((2, 1, 1), np.float32), [1, 6, 1], strides=2)[0, :, 0]
    array([1., 1., 2., 2., 3., 3.], dtype=float32)
    """
    row = row_arguments(strides, padding, data_format, dilations)
    sizes = shape_of("output_shape", output_shape)
    if len(sizes) != 3:
        raise ValueError(f"output_shape: should hold 3 sizes, but {sizes} has {len(sizes)}")
    axis = 2 if row.data_format == "NCHW" else 1
    image, bank = as_row("input", array_of("input", input), axis), bank_as_row(filters)
    result = input_gradient(
        ("output_shape", (*sizes[:axis], 1, *sizes[axis:])),
        ("filters", bank),
        ("input", image),
        False,
        *row,
        result_as_row(out, axis),
    )
    return np.squeeze(result, axis) if out is None else out
