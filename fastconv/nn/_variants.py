"""The other spellings of a convolution: dilated, of any rank, and along one axis."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import array_of, as_array, describe, spatial
from fastconv._backend import is_array
from fastconv._prepared import PreparedFilters
from fastconv._types import DataFormat, IntsLike, PaddingLike, RowFormat
from fastconv.nn._conv import conv2d


def positive_rate(rate: Any) -> tuple[int, ...]:
    """The rate of an atrous convolution, checked."""
    values = spatial("rate", rate)
    if len(values) > 2:
        raise ValueError(f"rate: should be an integer or a pair of them, but is {describe(rate)}")
    if min(values) < 1:
        raise ValueError(f"rate: {describe(rate)} must be positive")
    return values


def atrous_conv2d(
    value: ArrayLike,
    filters: ArrayLike,
    rate: IntsLike,
    padding: PaddingLike,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Dilated convolution of NHWC images, with stride 1: ``conv2d`` with ``dilations=rate``.

    Parameters
    ----------
    value : array_like, shape (..., H, W, C)
        Images, as for ``conv2d``.
    filters : array_like, shape (KH, KW, C / groups, F)
        As for ``conv2d``.
    rate : int or pair of ints
        Cells from tap to tap.
    padding : "SAME", "VALID" or four pairs of ints
        As for ``conv2d``.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape (..., OH, OW, F), of the dtype of `value`.

    Raises
    ------
    ValueError, TypeError
        Where ``conv2d`` raises them, or if `rate` is not positive.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/atrous_conv2d

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> image = np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
    >>> nn.atrous_conv2d(image, np.ones((3, 3, 1, 1), np.float32), rate=2, padding="VALID").item()
    108.0
    """
    return conv2d(value, filters, 1, padding, "NHWC", positive_rate(rate), out=out)


def convolution(
    input: ArrayLike,
    filters: ArrayLike,
    strides: IntsLike | None = None,
    padding: PaddingLike = "VALID",
    data_format: DataFormat | None = None,
    dilations: IntsLike | None = None,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Convolution along one or two axes: ``conv1d`` or ``conv2d``, as the rank of the filters says.

    Parameters
    ----------
    input : array_like, shape (..., H, W, C) or (..., W, C); channels before them with "NCHW" or "NCW"
        As for ``conv2d`` or ``conv1d``.
    filters : array_like, shape (KH, KW, C / groups, F) or (K, C / groups, F)
        As for ``conv2d`` or ``conv1d``.
    strides, dilations : int or sequence of ints, optional
        1 if omitted. Unlike in TensorFlow, both may be larger.
    padding : "SAME", "VALID" or pairs of ints
        As for ``conv2d`` or ``conv1d``.
    data_format : str, optional
        "NHWC" or "NCHW"; "NWC" or "NCW" for one axis. Channels last if omitted.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        The convolution, of the input's dtype.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``conv2d`` raises them; NotImplementedError for three axes, too.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/convolution

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.convolution(np.ones((1, 4, 4, 1), np.float32), np.ones((3, 3, 1, 1), np.float32)).shape
    (1, 2, 2, 1)
    """
    rank = np.ndim(filters)
    if rank == 5:
        raise NotImplementedError(f"filters: 3-D convolution, with filters of shape {np.shape(filters)}")
    along: Any = conv1d if rank == 3 else conv2d
    result: np.ndarray = along(
        input, filters, 1 if strides is None else strides, padding, data_format, dilations, out=out
    )
    return result


class RowArguments(NamedTuple):
    """The arguments of a 2-D convolution that is one along a row."""

    strides: tuple[int, ...]
    padding: Any
    data_format: Any
    dilations: tuple[int, ...]


def row_arguments(stride: Any, padding: Any, data_format: str | None, dilations: Any) -> RowArguments:
    """From the arguments of a 1-D convolution; those of the row's only column are neutral."""
    formats = {None: "NHWC", "NWC": "NHWC", "NCW": "NCHW"}
    if not isinstance(data_format, (str, type(None))) or data_format not in formats:
        raise ValueError(f"data_format: {describe(data_format)} is not one of 'NWC' and 'NCW'")
    last = formats[data_format] == "NHWC"

    def widened(name: str, value: Any) -> tuple[int, ...]:
        values = spatial(name, value, (1, 3))
        if len(values) == 1:
            return (1, values[0])
        return (values[0], 1, *values[1:]) if last else (*values[:2], 1, values[2])

    if isinstance(padding, (list, tuple, np.ndarray)):
        if len(padding) != 3:
            raise ValueError(f"padding: {describe(padding)} is not a list of three pairs, [[0, 0], [1, 1], [0, 0]] say")
        pairs = list(padding)
        pairs.insert(1 if last else 2, (0, 0))
        padding = pairs
    return RowArguments(widened("stride", stride), padding, formats[data_format], widened("dilations", dilations))


def as_row(name: str, array: np.ndarray, axis: int) -> np.ndarray:
    """The array, of three dimensions or more, with an axis of one cell more."""
    if array.ndim < 3:
        raise ValueError(f"{name}: must be 3-dimensional, but has {array.ndim} dimensions (shape {array.shape})")
    return np.expand_dims(array, axis)


def bank_as_row(filters: Any) -> Any:
    """Filters (K, C, F) as (1, K, C, F); prepared ones stay prepared."""
    if type(filters) is not PreparedFilters:
        return as_row("filters", as_array("filters", filters), 0)
    return filters.reshape((1, *filters.shape))


def result_as_row(out: Any, axis: int) -> Any:
    """What the result is written to; what is no array is left to the check of `out`."""
    return np.expand_dims(out, axis) if is_array(out) and out.ndim > 1 else out


def conv1d(
    input: ArrayLike,
    filters: ArrayLike,
    stride: IntsLike,
    padding: PaddingLike,
    data_format: RowFormat | None = "NWC",
    dilations: IntsLike | None = None,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """1-D convolution (cross-correlation) of signals with filters.

    Parameters
    ----------
    input : array_like, shape (..., W, C), or (..., C, W) with ``data_format="NCW"``
        Signals, of a dtype that ``conv2d`` takes.
    filters : array_like, shape (K, C / groups, F)
        Cast to the input's dtype.
    stride, dilations : int or sequence of 1 or 3 ints
        Cells from window to window, and from tap to tap.
    padding : "SAME", "VALID" or three pairs of ints
        As for ``conv2d``, in the order of `data_format`.
    data_format : {"NWC", "NCW"}, optional
        The layout of `input` and of the result.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the inputs.

    Returns
    -------
    numpy.ndarray
        Shape (..., OW, F), or (..., F, OW), of the input's dtype.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``conv2d`` raises them.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/conv1d

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> signal = np.array([1, 2, 4, 8], np.float32).reshape(1, 4, 1)
    >>> nn.conv1d(signal, np.array([-1, 1], np.float32).reshape(2, 1, 1), stride=1, padding="VALID")[0, :, 0]
    array([1., 2., 4.], dtype=float32)
    """
    row = row_arguments(stride, padding, data_format, dilations)
    axis = -2 if row.data_format == "NCHW" else -3
    image, bank = as_row("input", array_of("input", input), axis), bank_as_row(filters)
    result = conv2d(image, bank, *row, out=result_as_row(out, axis))
    return np.squeeze(result, axis) if out is None else out
