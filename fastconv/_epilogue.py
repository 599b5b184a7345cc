"""What follows the sums of a convolution: a bias for each channel, and an activation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv._arguments import castable, check_output, dense, to_dtype, told
from fastconv._backend import converted, is_on_device
from fastconv._cpu import _core
from fastconv._threads import threads_for

# Reading and writing an element takes about as long as so many multiply-adds.
_WORK = 16


class Extras(NamedTuple):
    """What a call brings beside its tensors: packed filters to use and add to, a bias, and an activation."""

    packings: dict[Any, Any] | None = None
    bias: np.ndarray | None = None  # of the arithmetic type, contiguous
    activation: str | None = None


def extras_of(
    packings: dict[Any, Any] | None, bias: Any, activation: Any, like: tuple[str, np.ndarray], channels: int
) -> Extras | None:
    """The extras of a call, checked; None if there are none.

    `like` is the name and value of the operand whose dtype decides.
    """
    if packings is None and bias is None and activation is None:
        return None
    name, x = like
    if activation is not None:
        if not isinstance(activation, str) or activation not in _core.ACTIVATIONS:
            raise ValueError(f"activation: {told(activation)} is not one of {', '.join(map(repr, _core.ACTIVATIONS))}")
        if x.dtype == np.int32 and activation not in ("relu", "relu6"):
            raise TypeError(f"activation: {activation!r} needs a floating dtype, but {name} has dtype int32")
    if bias is not None:
        bias = castable("bias", bias, name, x)
        if bias.shape != (channels,):
            if bias.size != channels or max(bias.shape, default=0) != channels:
                raise ValueError(
                    f"bias: should have shape ({channels},), one for each output channel, but has {bias.shape}"
                )
            bias = bias.reshape(channels)  # of (1, 1, 1, F), say
        bias = to_dtype(bias, x.dtype)
        bias = converted(bias, np.float32 if x.dtype.itemsize == 2 else x.dtype, "C")
        bias = bias if is_on_device(bias) else dense(bias)
    return Extras(packings, bias, activation)


def finish(array: np.ndarray, channels_first: bool, extras: Extras) -> None:
    """The epilogue of a finished tensor, in place: C-contiguous, (..., C) or (..., C, H, W)."""
    if array.size and (extras.bias is not None or extras.activation is not None):
        columns = array.shape[-1]
        if channels_first:
            columns *= array.shape[-2]
        threads = threads_for(_WORK * array.size)
        _core.finish(array, array, columns, channels_first, array.dtype.name, extras.bias, extras.activation, threads)


def activated(array: np.ndarray, activation: str, out: np.ndarray | None, slope: float = 0.2) -> np.ndarray:
    """The activation of every element of an array of a dtype that convolutions take, in `out`, which may overlap it.

    `slope` is that of "leaky_relu".
    """
    if is_on_device(array):
        from fastconv._cuda.pointwise import activated as activated_on_device

        return activated_on_device(array, activation, out)  # type: ignore[no-any-return]
    if out is None:
        out = np.empty(array.shape, array.dtype)
    else:
        check_output(out, array.shape, array.dtype, () if out is array else (array,))
    source = dense(array)
    if source.size:
        threads = threads_for(_WORK * source.size)
        _core.finish(source, np.asarray(out), source.size, False, source.dtype.name, None, activation, threads, slope)
    return out


def activation_grad(
    activation: str, parameter: float, gradient: np.ndarray, features: np.ndarray, out: np.ndarray | None
) -> np.ndarray:
    """The gradient times the derivative of an activation at the features, in `out`, which may be one of the two.

    The parameter of "relu" is a limit (NaN: none), that of "silu" its steepness; "gelu" and "gelu_tanh" have none.
    Both arrays have one shape and one dtype of those that convolutions take, which int32 is on a device alone.
    """
    if is_on_device(gradient):
        from fastconv._cuda.pointwise import computed

        return computed(f"{activation}_grad", (gradient, features), out, parameter)  # type: ignore[no-any-return]
    if out is None:
        out = np.empty(gradient.shape, gradient.dtype)
    else:
        check_output(out, gradient.shape, gradient.dtype, ())
    dy, x = (
        dense(array.copy() if array is not out and np.may_share_memory(array, out) else array)
        for array in (gradient, features)
    )
    if dy.size:
        threads = threads_for(_WORK * dy.size)
        _core.activation_grad(activation, parameter, dy, x, np.asarray(out), dy.dtype.name, threads)
    return out
