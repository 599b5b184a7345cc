"""Bias and normalization of channels, with gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import arithmetic, array_of, castable, channels_first, check_output, integer, number, to_dtype
from fastconv._backend import backend_of, on_its_device
from fastconv.nn._elementwise import check_place, floating, narrow, same_shape, store


def _channel_shape(name: str, array: np.ndarray, value: np.ndarray, first: bool) -> tuple[int, ...]:
    """The shape that lines a vector of channels up with the channels of `value`."""
    if value.ndim < 2:
        raise ValueError(
            f"value: must have 2 dimensions or more (value shape {value.shape}, {name} shape {array.shape})"
        )
    axis = 1 if first else value.ndim - 1
    if array.shape != (value.shape[axis],):
        raise ValueError(
            f"{name}: must have shape {(value.shape[axis],)}, one for each channel"
            f" (value shape {value.shape}, {name} shape {array.shape})"
        )
    return tuple(value.shape[axis] if i == axis else 1 for i in range(value.ndim))


def _channels_second(data_format: str | None) -> bool:
    if isinstance(data_format, str) and data_format[0:1] == "N" and "C" in (data_format[1:2], data_format[2:][-1:]):
        return data_format[1] == "C"
    return channels_first(data_format)


@np.errstate(all="ignore")
def bias_add(
    value: ArrayLike,
    bias: ArrayLike,
    data_format: str | None = None,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Each channel plus its bias.

    Parameters
    ----------
    value : array_like, shape (N, ..., C), or (N, C, ...) with a `data_format` such as "NCHW"
        A list of Python floats is float32.
    bias : array_like, shape (C,)
        Cast to the dtype of `value`.
    data_format : str, optional
        Channels come last if omitted.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous: `value` itself, or apart from it.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `value`.

    Raises
    ------
    ValueError
        If there is not one bias for each channel.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/bias_add

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.bias_add(np.zeros((1, 1, 1, 2), np.float32), [1.0, 2.0])[0, 0, 0]
    array([1., 2.], dtype=float32)
    """
    x: Any = array_of("value", value)
    b: Any = castable("bias", bias, "value", x)
    shape = _channel_shape("bias", b, x, _channels_second(data_format))
    b = to_dtype(b, x.dtype)
    channels = b.reshape(shape)
    if out is not None:
        check_output(out, x, x.shape, x.dtype, (bias,) if out is value else (value, bias))
    inner = math.prod(x.shape[2:]) if _channels_second(data_format) else 1
    found: np.ndarray | None = backend_of(x).bias_add(x, b, inner, out)
    if found is not None:
        return found
    if out is None:
        return narrow(x, x + channels)
    np.add(x, channels, out=out)
    return out


@on_its_device
@np.errstate(all="ignore")
def bias_add_grad(out_backprop: ArrayLike, data_format: str | None = None, name: str | None = None) -> np.ndarray:
    """The gradient of ``bias_add`` with respect to the bias: the sum over everything but channels.

    Parameters
    ----------
    out_backprop : array_like, shape (N, ..., C), or (N, C, ...) with a `data_format` such as "NCHW"
        The gradient with respect to the result.
    data_format : str, optional
        Channels come last if omitted.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.

    Returns
    -------
    numpy.ndarray
        Shape (C,), of the dtype of `out_backprop`; sums are formed in float64, or float32 for the half precisions.

    Raises
    ------
    ValueError
        If `out_backprop` has fewer than 2 dimensions.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/BiasAddGrad

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.bias_add_grad(np.ones((2, 3, 3, 1), np.float32))
    array([18.], dtype=float32)
    """
    dy = array_of("out_backprop", out_backprop)
    if dy.ndim < 2:
        raise ValueError(f"out_backprop: must have 2 dimensions or more, but has shape {dy.shape}")
    if _channels_second(data_format):
        dy = dy.transpose(0, *range(2, dy.ndim), 1)
    wide = dy.dtype if dy.dtype.kind in "iu" else np.float32 if dy.dtype.itemsize == 2 else np.float64
    # Sums follow the order of memory: in C order, every layout has the same bits.
    return narrow(dy, dy.ravel().reshape(math.prod(dy.shape[:-1]), dy.shape[-1]).sum(0, dtype=wide))


@on_its_device
@np.errstate(all="ignore")
def batch_normalization(
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    offset: ArrayLike | None,
    scale: ArrayLike | None,
    variance_epsilon: float,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """``scale * (x - mean) / sqrt(variance + variance_epsilon) + offset``, of shapes that broadcast.

    Parameters
    ----------
    x : array_like, floating
        A list of Python floats is float32.
    mean, variance : array_like
        Of x, along the axes where they have one element; cast to the dtype of `x`.
    offset, scale : array_like or None
        What the normalized x is multiplied with, and what is added; None is neutral.
    variance_epsilon : float
        Added to the variance.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Of the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        If the dtype is not a floating one, or shapes do not broadcast.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/batch_normalization

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.batch_normalization([1.0, 3.0], 2.0, 1.0, None, None, 0.0)
    array([-1.,  1.], dtype=float32)
    """
    array = floating("x", x)
    wide = arithmetic(array.dtype)
    epsilon = number("variance_epsilon", variance_epsilon)
    check_place(out, array)
    factor = 1 / np.sqrt(_along("variance", variance, array, wide) + wide(epsilon))
    if scale is not None:
        factor = factor * _along("scale", scale, array, wide)
    shift = -_along("mean", mean, array, wide) * factor
    if offset is not None:
        shift = shift + _along("offset", offset, array, wide)
    return store(narrow(array, array.astype(wide, copy=False) * factor + shift), out)


def _along(name: str, value: ArrayLike | None, x: np.ndarray, wide: Any) -> Any:
    """An array that broadcasts to the shape of x, in the dtype that batch normalization is computed in."""
    if value is None:
        raise TypeError(f"{name}: expected an array, got None")
    array = castable(name, value, "x", x)
    try:
        fits = np.broadcast_shapes(array.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: its shape, {array.shape}, does not broadcast to that of x, {x.shape}")
    return to_dtype(to_dtype(array, x.dtype), np.dtype(wide))


@on_its_device
@np.errstate(all="ignore")
def batch_normalization_grad(
    gradients: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    offset: ArrayLike | None,
    scale: ArrayLike | None,
    variance_epsilon: float,
    name: str | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The gradients of ``batch_normalization`` with respect to its five arrays.

    Parameters
    ----------
    gradients : array_like, of the shape of `x`
        With respect to the result.
    x, mean, variance, offset, scale, variance_epsilon
        As for ``batch_normalization``; of `offset` only the shape matters.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.

    Returns
    -------
    tuple of numpy.ndarray
        The gradients with respect to x, mean, variance, offset and scale, of their shapes and of the dtype of
        `gradients`; None for an offset or a scale that is None. Sums are formed in float64.

    Raises
    ------
    TypeError, ValueError
        If the dtype is not a floating one, or shapes do not broadcast.

    Notes
    -----
    Mean and variance count as arguments. Where they were computed from the n elements of x that share them, x gets the
    gradient ``dx + dmean / n + dvariance * 2 / n * (x - mean)``.

    References
    ----------
    Ioffe and Szegedy, arXiv:1502.03167; https://www.tensorflow.org/api_docs/python/tf/nn/batch_normalization

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> x, dy, mean, variance, scale = [1.0, 3.0], [1.0, 2.0], [2.0], [1.0], [5.0]
    >>> dx, dmean, dvariance, doffset, dscale = nn.batch_normalization_grad(
    ...     dy, x, mean, variance, None, scale, variance_epsilon=0.0
    ... )
    >>> dx, dmean, doffset, dscale
    (array([ 5., 10.], dtype=float32), array([-15.], dtype=float32), None, array([1.], dtype=float32))
    """
    dy, array = same_shape(("gradients", "x"), floating("gradients", gradients), x)
    wide = arithmetic(dy.dtype)
    epsilon = number("variance_epsilon", variance_epsilon)
    means, variances = _along("mean", mean, dy, wide), _along("variance", variance, dy, wide)
    # Sums follow the order of memory: in C order, every layout has the same bits.
    backend = backend_of(dy)
    gradient: Any = backend.convert(dy, wide, "C")
    centered: Any = backend.convert(array, wide, "C") - means
    inverse = 1 / np.sqrt(variances + wide(epsilon))
    scales = None if scale is None else _along("scale", scale, dy, wide)
    factor = inverse if scales is None else inverse * scales
    doffset = None if offset is None else _summed(gradient, _along("offset", offset, dy, wide).shape)
    dscale = None if scales is None else _summed(gradient * (centered * inverse), scales.shape)
    dx = gradient * factor
    dmean = -_summed(dx, means.shape)
    dvariance = _summed(dx * (centered * (inverse * inverse)), variances.shape) / -2
    results = (None if each is None else narrow(dy, each) for each in (dx, dmean, dvariance, doffset, dscale))
    return tuple(results)  # type: ignore[return-value]


def _summed(array: Any, shape: tuple[int, ...]) -> Any:
    """The sums in float64 over the axes along which an array of this shape was broadcast."""
    kept = (1,) * (array.ndim - len(shape)) + shape
    axes = tuple(axis for axis, size in enumerate(kept) if size == 1)
    return array.sum(axes, dtype=np.float64).reshape(shape)


def _neighbor_sums(squares: Any, radius: int) -> Any:
    """For each channel the sum over those at most `radius` away."""
    depth = squares.shape[-1]
    total = squares.copy()
    for step in range(1, min(radius, depth - 1) + 1):
        total[..., step:] += squares[..., :-step]
        total[..., :-step] += squares[..., step:]
    return total


def _check_radius(depth_radius: int) -> int:
    radius = integer("depth_radius", depth_radius)
    if radius < 0:
        raise ValueError(f"depth_radius: {radius} is negative")
    return radius


def _factors(bias: float, alpha: float, beta: float) -> tuple[float, float, float]:
    return number("bias", bias), number("alpha", alpha), number("beta", beta)


@on_its_device
@np.errstate(all="ignore")
def local_response_normalization(
    input: ArrayLike,
    depth_radius: int = 5,
    bias: float = 1,
    alpha: float = 1,
    beta: float = 0.5,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Each element divided by a power of the sum of its neighbors' squares in other channels.

    ``input / (bias + alpha * sum of input[..., c - depth_radius : c + depth_radius + 1] ** 2) ** beta``

    Parameters
    ----------
    input : array_like, shape (..., C), floating
        A list of Python floats is float32.
    depth_radius : int, optional
        Channels on either side that take part.
    bias, alpha, beta : float, optional
        As in the formula.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `input`.

    Raises
    ------
    TypeError, ValueError
        If the dtype is not a floating one, there are no channels, or the radius is negative.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/local_response_normalization

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.local_response_normalization(np.ones((1, 1, 1, 3), np.float32), depth_radius=1)[0, 0, 0].round(4)
    array([0.5774, 0.5   , 0.5774], dtype=float32)
    """
    array = floating("input", input)
    if array.ndim < 1:
        raise ValueError("input: has no channels (shape ())")
    kind: Any = arithmetic(array.dtype)
    radius = _check_radius(depth_radius)
    bias, alpha, beta = _factors(bias, alpha, beta)
    check_place(out, array)
    if array.size == 0:
        return store(array.copy(), out)
    backend = backend_of(array)
    wide: Any = backend.convert(array, kind)
    found = backend.normalize(wide, None, None, radius, (bias, alpha, beta))
    if found is not None:
        return store(narrow(array, found), out)
    scale = kind(bias) + kind(alpha) * _neighbor_sums(wide * wide, radius)
    return store(narrow(array, wide * scale ** kind(-beta)), out)


@on_its_device
@np.errstate(all="ignore")
def local_response_normalization_grad(
    input_grads: ArrayLike,
    input_image: ArrayLike,
    output_image: ArrayLike,
    depth_radius: int = 5,
    bias: float = 1,
    alpha: float = 1,
    beta: float = 0.5,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of ``local_response_normalization`` with respect to its input.

    Parameters
    ----------
    input_grads : array_like, shape (..., C)
        The gradient with respect to the result.
    input_image, output_image : array_like, of the same shape
        The input, and the result.
    depth_radius, bias, alpha, beta
        As for ``local_response_normalization``.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `input_grads`.

    Raises
    ------
    ValueError
        If the shapes differ, or the radius is negative.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/LRNGrad

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> x = np.ones((1, 1), np.float32)
    >>> nn.local_response_normalization_grad(x, x, nn.local_response_normalization(x)).round(4)
    array([[0.3536]], dtype=float32)
    """
    dy, x = same_shape(("input_grads", "input_image"), input_grads, input_image)
    dy, y = same_shape(("input_grads", "output_image"), dy, output_image)
    if dy.ndim < 1:
        raise ValueError("input_grads: has no channels (shape ())")
    kind: Any = arithmetic(dy.dtype)
    radius = _check_radius(depth_radius)
    bias, alpha, beta = _factors(bias, alpha, beta)
    check_place(out, dy)
    if dy.size == 0:
        return store(dy.copy(), out)
    backend = backend_of(dy)
    operands: list[Any] = [backend.convert(array, kind, "C") for array in (dy, x, y)]
    dy_, x_, y_ = operands
    found = backend.normalize(x_, y_, dy_, radius, (bias, alpha, beta))
    if found is not None:
        return store(narrow(dy, found), out)
    scale = kind(bias) + kind(alpha) * _neighbor_sums(x_ * x_, radius)
    others = _neighbor_sums(dy_ * y_ / scale, radius)
    return store(narrow(dy, dy_ * scale ** kind(-beta) - kind(2 * alpha * beta) * x_ * others), out)
