"""Activations, functions of single elements: in NumPy where it is fast enough."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import DTYPES, arithmetic, array_of, check_output, flag, number
from fastconv._backend import backend_of
from fastconv.nn._elementwise import compute, floating, narrow, real, slope_of, store


def check_apart(out: np.ndarray | None, array: np.ndarray) -> None:
    """Raises unless a kernel may write a result to `out`: the array itself, or apart from it."""
    if out is not None and array.dtype.name in DTYPES:
        check_output(out, array, array.shape, array.dtype, () if out is array else (array,))


def relu(features: ArrayLike, name: str | None = None, *, out: np.ndarray | None = None) -> np.ndarray:
    """The larger of each element and 0; NaN stays NaN.

    Parameters
    ----------
    features : array_like, of any shape
        A list of Python floats is float32.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous: `features` itself, or apart from it.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `features`.

    Raises
    ------
    ValueError, TypeError
        If a list cannot be made an array, or `out` does not fit.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/relu

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.relu([-1.0, 2.0])
    array([0., 2.], dtype=float32)
    """
    array: Any = real("features", features)
    check_apart(out, array)
    result = compute("relu", out, array)
    if result is not None:
        return result
    return store(narrow(array, np.maximum(array, array.dtype.type(0))), out)


def relu6(features: ArrayLike, name: str | None = None, *, out: np.ndarray | None = None) -> np.ndarray:
    """Each element cut to the range from 0 to 6; NaN stays NaN.

    Parameters
    ----------
    features : array_like, of any shape
        A list of Python floats is float32.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous: `features` itself, or apart from it.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `features`.

    Raises
    ------
    ValueError, TypeError
        If a list cannot be made an array, or `out` does not fit.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/relu6

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.relu6([-1.0, 2.0, 8.0])
    array([0., 2., 6.], dtype=float32)
    """
    array: Any = real("features", features)
    check_apart(out, array)
    result = compute("relu6", out, array)
    if result is not None:
        return result
    return store(narrow(array, np.minimum(np.maximum(array, array.dtype.type(0)), array.dtype.type(6))), out)


@np.errstate(all="ignore")
def leaky_relu(
    features: ArrayLike, alpha: float | None = 0.2, name: str | None = None, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Each element, or `alpha` times it where it is negative.

    Parameters
    ----------
    features : array_like, of any shape
        Integers are cast to float32.
    alpha : float or None, optional
        The slope on the negative side; None is 0.2.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Of the shape of `features`, and of its dtype if that is floating.

    Raises
    ------
    TypeError
        If the dtype is neither a floating nor an integer one.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/leaky_relu

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.leaky_relu([-1.0, 2.0], alpha=0.5)
    array([-0.5,  2. ], dtype=float32)
    """
    array = array_of("features", features)
    array = floating("features", backend_of(array).convert(array, np.float32) if array.dtype.kind in "iu" else array)
    slope = slope_of(array, alpha)
    result = compute("leaky_relu", out, array, parameter=float(slope))
    if result is not None:
        return result
    return store(narrow(array, np.where(array < 0, array * slope, array)), out)


@np.errstate(all="ignore")
def elu(features: ArrayLike, name: str | None = None, *, out: np.ndarray | None = None) -> np.ndarray:
    """Each element x, or exp(x) - 1 where it is negative.

    Parameters
    ----------
    features : array_like, of any shape, floating
        A list of Python floats is float32.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `features`.

    Raises
    ------
    TypeError
        If the dtype is not a floating one.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/elu

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.elu([0.0, 2.0])
    array([0., 2.], dtype=float32)
    """
    array = floating("features", features)
    result = compute("elu", out, array)
    if result is not None:
        return result
    return store(narrow(array, np.where(array < 0, np.expm1(np.minimum(array, array.dtype.type(0))), array)), out)


@np.errstate(all="ignore")
def silu(
    features: ArrayLike, beta: float = 1.0, name: str | None = None, *, out: np.ndarray | None = None
) -> np.ndarray:
    """The sigmoid-weighted linear unit (swish), x / (1 + exp(-beta x)).

    Parameters
    ----------
    features : array_like, of any shape, floating
        A list of Python floats is float32.
    beta : float, optional
        The steepness of the sigmoid.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `features`.

    Raises
    ------
    TypeError
        If the dtype is not a floating one.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/silu

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.silu([0.0])
    array([0.], dtype=float32)
    """
    array, steepness = floating("features", features), number("beta", beta)
    found = compute("silu", out, array, parameter=steepness)
    if found is not None:
        return found
    wide: Any = array.astype(arithmetic(array.dtype), copy=False)
    scaled = wide * wide.dtype.type(steepness)
    result = np.asarray(wide / (1 + np.exp(-scaled)))
    far = np.asarray(scaled < (-700 if wide.dtype == np.float64 else -80))
    if far.any():  # there exp(-scaled) may be infinite, and 1 is nothing beside it
        result[far] = (wide * np.exp(scaled))[far]
    return store(narrow(array, result), out)


@np.errstate(all="ignore")
def gelu(
    features: ArrayLike, approximate: bool = False, name: str | None = None, *, out: np.ndarray | None = None
) -> np.ndarray:
    """The Gaussian error linear unit: x times the probability that a standard normal is below x.

    Parameters
    ----------
    features : array_like, of any shape, floating
        A list of Python floats is float32.
    approximate : bool, optional
        Whether to use tanh in place of the error function (Hendrycks and Gimpel, arXiv:1606.08415).
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `features`.

    Raises
    ------
    TypeError
        If the dtype is not a floating one.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/gelu

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.gelu([0.0, 1.0]).round(4)
    array([0.    , 0.8413], dtype=float32)
    """
    array = floating("features", features)
    function = "gelu_tanh" if flag("approximate", approximate) else "gelu"
    result = compute(function, out, array)
    if result is not None:
        return result
    return store(narrow(array, compute(function, None, array.astype(np.float64))), out)
