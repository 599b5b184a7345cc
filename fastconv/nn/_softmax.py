"""Softmax and its gradient, in NumPy."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import arithmetic, describe
from fastconv._backend import on_its_device
from fastconv.nn._elementwise import check_place, floating, narrow, same_shape, store


def _axis_of(name: str, array: np.ndarray, axis: int | None) -> int:
    """An axis of the operand `name`, the last by default."""
    try:
        found = -1 if axis is None else operator.index(axis)
    except TypeError:
        raise TypeError(f"axis: expected an integer, got {describe(axis)}") from None
    if not -array.ndim <= found < array.ndim:
        raise ValueError(f"axis: {describe(found)} is not an axis of {name}, of shape {array.shape}")
    return found


@on_its_device
@np.errstate(all="ignore")
def softmax(
    logits: ArrayLike, axis: int | None = None, name: str | None = None, *, out: np.ndarray | None = None
) -> np.ndarray:
    """exp(logits), divided by its sum along an axis.

    Parameters
    ----------
    logits : array_like, of any shape but (), floating
        A list of Python floats is float32.
    axis : int, optional
        The axis whose elements add up to 1; the last if omitted.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `logits`.

    Raises
    ------
    TypeError, ValueError
        If the dtype is not a floating one, or there is no such axis.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/softmax

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.softmax([1.0, 1.0])
    array([0.5, 0.5], dtype=float32)
    """
    array = floating("logits", logits)
    axis = _axis_of("logits", array, axis)
    check_place(out, array)
    if array.size == 0:
        return store(array.copy(), out)
    wide: Any = array.astype(arithmetic(array.dtype), copy=False)
    powers = np.exp(wide - wide.max(axis, keepdims=True))
    sums = powers.sum(axis, keepdims=True, dtype=np.float64).astype(wide.dtype)
    return store(narrow(array, powers / sums), out)


@on_its_device
@np.errstate(all="ignore")
def softmax_grad(
    gradients: ArrayLike,
    outputs: ArrayLike,
    axis: int | None = None,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of ``softmax`` with respect to its argument: ``(gradients - sum(gradients * outputs)) * outputs``.

    Parameters
    ----------
    gradients : array_like, floating
        With respect to the result.
    outputs : array_like, of the same shape
        The result of ``softmax``.
    axis : int, optional
        That of ``softmax``; the last if omitted.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `gradients`.

    Raises
    ------
    TypeError, ValueError
        If the dtype is not a floating one, the shapes differ, or there is no such axis.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/softmax

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.softmax_grad([1.0, 0.0], nn.softmax([1.0, 1.0]))
    array([ 0.25, -0.25], dtype=float32)
    """
    dy, y = same_shape(("gradients", "outputs"), floating("gradients", gradients), outputs)
    axis = _axis_of("gradients", dy, axis)
    check_place(out, dy)
    kind: Any = arithmetic(dy.dtype)
    gradient, result = dy.astype(kind, copy=False), y.astype(kind, copy=False)
    shared = (gradient * result).sum(axis, keepdims=True, dtype=np.float64).astype(kind)
    return store(narrow(dy, (gradient - shared) * result), out)
