"""Gradients of activations: in NumPy where it is fast enough."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import check_output, flag, number
from fastconv.nn._elementwise import compute, floating, narrow, same_shape, slope_of, store


def relu_grad(
    gradients: ArrayLike, features: ArrayLike, name: str | None = None, *, out: np.ndarray | None = None
) -> np.ndarray:
    """The gradient of ``relu`` with respect to its argument.

    Parameters
    ----------
    gradients : array_like
        With respect to the result.
    features : array_like, of the same shape
        The argument of ``relu``.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous: `gradients` itself, or apart from both.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `gradients`.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/ReluGrad

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.relu_grad([5.0, 5.0], [-1.0, 2.0])
    array([0., 5.], dtype=float32)
    """
    return _relu_grad(gradients, features, np.nan, out)


def relu6_grad(
    gradients: ArrayLike, features: ArrayLike, name: str | None = None, *, out: np.ndarray | None = None
) -> np.ndarray:
    """The gradient of ``relu6`` with respect to its argument.

    Parameters
    ----------
    gradients : array_like
        With respect to the result.
    features : array_like, of the same shape
        The argument of ``relu6``.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous: `gradients` itself, or apart from both.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `gradients`.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/Relu6Grad

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.relu6_grad([5.0, 5.0, 5.0], [-1.0, 2.0, 9.0])
    array([0., 5., 0.], dtype=float32)
    """
    return _relu_grad(gradients, features, 6, out)


def _relu_grad(gradients: ArrayLike, features: ArrayLike, limit: float, out: np.ndarray | None) -> np.ndarray:
    """The gradients where features are above 0 and below the limit (NaN: without one), else 0."""
    dy, x = same_shape(("gradients", "features"), gradients, features)
    if out is not None:
        check_output(out, dy, dy.shape, dy.dtype, (x,) if out is dy else (dy, x))
    found = compute("relu_grad", out, dy, x, parameter=limit)
    if found is not None:
        return found
    result = np.where((x > 0) & ~(x >= limit), dy, dy.dtype.type(0))
    if out is None:
        return result
    out[...] = result
    return out


@np.errstate(all="ignore")
def leaky_relu_grad(
    gradients: ArrayLike,
    features: ArrayLike,
    alpha: float | None = 0.2,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of ``leaky_relu`` with respect to its argument.

    Parameters
    ----------
    gradients : array_like
        With respect to the result.
    features : array_like, of the same shape
        The argument of ``leaky_relu``.
    alpha : float or None, optional
        The slope on the negative side; None is 0.2.
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
    ValueError
        If the shapes differ.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/LeakyReluGrad

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.leaky_relu_grad([5.0, 5.0], [-1.0, 2.0])
    array([1., 5.], dtype=float32)
    """
    dy, x = same_shape(("gradients", "features"), gradients, features)
    slope = slope_of(dy, alpha)
    found = compute("leaky_relu_grad", out, dy, x, parameter=float(slope))
    if found is not None:
        return found
    return store(narrow(dy, np.where(x > 0, dy, dy * slope)), out)


@np.errstate(all="ignore")
def elu_grad(
    gradients: ArrayLike, outputs: ArrayLike, name: str | None = None, *, out: np.ndarray | None = None
) -> np.ndarray:
    """The gradient of ``elu`` with respect to its argument.

    Parameters
    ----------
    gradients : array_like
        With respect to the result.
    outputs : array_like, of the same shape
        The result of ``elu``.
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
    ValueError
        If the shapes differ.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/EluGrad

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.elu_grad([5.0, 5.0], [-0.5, 2.0])
    array([2.5, 5. ], dtype=float32)
    """
    dy, x = same_shape(("gradients", "outputs"), gradients, outputs)
    found = compute("elu_grad", out, dy, x)
    if found is not None:
        return found
    return store(narrow(dy, np.where(x < 0, dy * (x + dy.dtype.type(1)), dy)), out)


@np.errstate(all="ignore")
def silu_grad(
    gradients: ArrayLike,
    features: ArrayLike,
    beta: float = 1.0,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of ``silu`` with respect to its argument.

    It is ``gradients * s * (1 + beta * features * (1 - s))``, where s is the sigmoid of ``beta * features``.

    Parameters
    ----------
    gradients : array_like, floating
        With respect to the result.
    features : array_like, of the same shape
        The argument of ``silu``.
    beta : float, optional
        That of ``silu``.
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
        If the dtype is not a floating one, or the shapes differ.

    References
    ----------
    Elfwing, Uchibe and Doya, arXiv:1702.03118.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.silu_grad([4.0], [0.0])
    array([2.], dtype=float32)
    """
    return _smooth_grad("silu", number("beta", beta), gradients, features, out)


@np.errstate(all="ignore")
def gelu_grad(
    gradients: ArrayLike,
    features: ArrayLike,
    approximate: bool = False,
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of ``gelu`` with respect to its argument.

    It is ``gradients * (P + features * p)``, where P is the standard normal distribution function at `features`, and p
    is its density.

    Parameters
    ----------
    gradients : array_like, floating
        With respect to the result.
    features : array_like, of the same shape
        The argument of ``gelu``.
    approximate : bool, optional
        That of ``gelu``; the gradient is then that of the approximation.
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
        If the dtype is not a floating one, or the shapes differ.

    References
    ----------
    Hendrycks and Gimpel, arXiv:1606.08415.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.gelu_grad([4.0], [0.0])
    array([2.], dtype=float32)
    """
    activation = "gelu_tanh" if flag("approximate", approximate) else "gelu"
    return _smooth_grad(activation, 0.0, gradients, features, out)


def _smooth_grad(
    activation: str, parameter: float, gradients: ArrayLike, features: ArrayLike, out: np.ndarray | None
) -> np.ndarray:
    """The gradient of an activation that has a kernel; dtypes without one are computed in float64."""
    dy, x = same_shape(("gradients", "features"), floating("gradients", gradients), features)
    found = compute(f"{activation}_grad", out, dy, x, parameter=parameter)
    if found is not None:
        return found
    wide: tuple[Any, Any] = (dy.astype(np.float64), x.astype(np.float64))
    return store(narrow(dy, compute(f"{activation}_grad", None, *wide, parameter=parameter)), out)
