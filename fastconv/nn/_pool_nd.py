"""Pooling of sequences, images and volumes: TensorFlow's pools of any rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import arithmetic, check_output, describe, padding_pairs, spatial
from fastconv._backend import backend_of, on_its_device
from fastconv._types import DataFormat, IntsLike, PaddingLike, PaddingName
from fastconv.nn._elementwise import store
from fastconv.nn._pool import avg_pool2d, max_pool2d, pooled


def max_pool(
    input: ArrayLike,
    ksize: IntsLike,
    strides: IntsLike,
    padding: PaddingLike,
    data_format: DataFormat | None = None,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The largest cell of each window of one, two or three axes.

    Parameters
    ----------
    input : array_like, shape (N, ..., C), or (N, C, ...) with a `data_format` that says so
        Sequences, images or volumes of any integer or floating dtype: 3 to 5 dimensions.
    ksize, strides : int or sequence of ints
        One for all axes, one for each axis, or one for each dimension, in the order of `data_format`.
    padding : "SAME", "VALID" or a pair of ints for each dimension
        As for ``max_pool2d``.
    data_format : str, optional
        "NWC" or "NCW", "NHWC" or "NCHW", "NDHWC" or "NCDHW"; channels come last if omitted.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the input.

    Returns
    -------
    numpy.ndarray
        Of the input's rank and dtype: NaN where a window holds NaN.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``max_pool2d`` raises them, or if there are fewer than 3 or more than 5 dimensions.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/max_pool

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.max_pool(np.arange(8.0).reshape(1, 8, 1), 2, 2, "VALID")[0, :, 0]
    array([1., 3., 5., 7.])
    """
    return _pool_of_any_rank(max_pool2d, input, ksize, strides, padding, data_format, out)


def avg_pool(
    input: ArrayLike,
    ksize: IntsLike,
    strides: IntsLike,
    padding: PaddingName,
    data_format: DataFormat | None = None,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The mean of each window's cells, along one, two or three axes; padding does not count.

    Parameters
    ----------
    input, ksize, strides, data_format, name, out
        As for ``max_pool``; the dtype is a floating one.
    padding : "SAME" or "VALID"
        As for ``conv2d``.

    Returns
    -------
    numpy.ndarray
        Of the input's rank and dtype.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``avg_pool2d`` raises them, or if there are fewer than 3 or more than 5 dimensions.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/avg_pool

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.avg_pool(np.arange(8.0).reshape(1, 2, 2, 2, 1), 2, 2, "VALID").item()
    3.5
    """
    return _pool_of_any_rank(avg_pool2d, input, ksize, strides, padding, data_format, out)


_FORMATS = {3: ("NWC", "NCW"), 4: ("NHWC", "NCHW"), 5: ("NDHWC", "NCDHW")}


def _along_axes(name: str, value: Any, rank: int, first: bool) -> tuple[int, ...]:
    """The entries of ``ksize`` or ``strides`` for each axis of so many dimensions."""
    axes = rank - 2
    if value is None:
        raise TypeError(f"{name}: expected an integer or a list of them, got None")
    values = spatial(name, value, tuple(sorted({1, axes, rank})))
    if len(values) == rank:
        batch, depth = values[0], values[1 if first else -1]
        if (batch, depth) != (1, 1):
            raise NotImplementedError(
                f"{name}: {list(values)} has an entry other than 1 in the batch or depth dimension"
            )
        values = values[2:] if first else values[1:-1]
    return values * (axes // len(values)) if len(values) == 1 else values


@on_its_device
def _pool_of_any_rank(
    pool: Callable[..., np.ndarray],
    input: ArrayLike,
    ksize: IntsLike,
    strides: IntsLike,
    padding: PaddingLike,
    data_format: str | None,
    out: np.ndarray | None,
) -> np.ndarray:
    """Images as they are; sequences as images of one row; volumes plane by plane, and then along the depth."""
    x = pooled("input", input)
    if x.ndim not in _FORMATS:
        raise ValueError(f"input: must have 3, 4 or 5 dimensions, but has {x.ndim} (shape {x.shape})")
    if x.ndim == 4:
        return pool(input, ksize, strides, padding, data_format, out=out)
    formats = _FORMATS[x.ndim]
    if not isinstance(data_format, (str, type(None))) or data_format not in (None, *formats):
        raise ValueError(f"data_format: {describe(data_format)} is not one of {formats[0]!r} and {formats[1]!r}")
    first = data_format == formats[1]
    size, step = (_along_axes(name, value, x.ndim, first) for name, value in (("ksize", ksize), ("strides", strides)))
    pairs = padding_pairs("padding", padding, x.ndim)
    if not isinstance(pairs, str):
        if pool is avg_pool2d:
            raise TypeError(f"padding: expected 'SAME' or 'VALID', got {describe(padding)}")
        batch, depth = pairs[0], pairs[1 if first else -1]
        if batch != (0, 0) or depth != (0, 0):
            raise ValueError(f"padding: {list(pairs)} pads the batch or depth dimensions")
        pairs = pairs[2:] if first else pairs[1:-1]
    images = x.transpose(0, *range(2, x.ndim), 1) if first else x
    wide = images
    if pool is avg_pool2d:  # a mean of means is rounded once
        wide = backend_of(images).convert(images, arithmetic(x.dtype))
    if x.ndim == 3:
        result = pool(wide[:, None], (1, *size), (1, *step), _in_two(pairs, None, 0))[:, 0]
    else:
        n, d, h, w, c = wide.shape
        planes = pool(wide.reshape(n * d, h, w, c), size[1:], step[1:], _in_two(pairs, 1, 2))
        oh, ow = planes.shape[1:3]
        columns = planes.reshape(n, d, oh * ow, c)
        result = pool(columns, (size[0], 1), (step[0], 1), _in_two(pairs, 0, None)).reshape(n, -1, oh, ow, c)
    result = result.astype(x.dtype, copy=False)
    if first:
        result = result.transpose(0, x.ndim - 1, *range(1, x.ndim - 1)).copy(order="C")
    if out is not None:
        check_output(out, x, result.shape, x.dtype, (input,))
    return store(result, out)


def _in_two(pairs: Any, high: int | None, wide: int | None) -> Any:
    """The padding of images whose rows, or columns, are these axes; None: there is one, or none is pooled."""
    if isinstance(pairs, str):
        return pairs
    none = (0, 0)
    return [none, none if high is None else pairs[high], none if wide is None else pairs[wide], none]
