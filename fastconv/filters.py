"""Hand-made image filters: small kernels, and banks of them for one call of ``conv2d``."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_SMOOTH = (1.0, 2.0, 1.0)
_SMOOTHER = (1.0, 4.0, 6.0, 4.0, 1.0)

# What each kernel is, in rows; the factor before it makes smoothing kernels sum to 1. Kernels are written as they are
# applied: conv2d does not flip them.
_KERNELS: dict[str, tuple[float, tuple[tuple[float, ...], ...]]] = {
    "identity": (1, ((0, 0, 0), (0, 1, 0), (0, 0, 0))),
    "edge": (1, ((0, -1, 0), (-1, 4, -1), (0, -1, 0))),
    "ridge": (1, ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1))),
    "sharpen": (1, ((0, -1, 0), (-1, 5, -1), (0, -1, 0))),
    "box-blur": (1 / 9, ((1, 1, 1), (1, 1, 1), (1, 1, 1))),
    "gaussian-3x3": (1 / 16, tuple(tuple(a * b for b in _SMOOTH) for a in _SMOOTH)),
    "gaussian-5x5": (1 / 256, tuple(tuple(a * b for b in _SMOOTHER) for a in _SMOOTHER)),
    "sobel-x": (1, ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))),
    "sobel-y": (1, ((-1, -2, -1), (0, 0, 0), (1, 2, 1))),
}

NAMES = tuple(_KERNELS)


def kernel(name: str) -> np.ndarray:
    """A kernel by its name.

    Parameters
    ----------
    name : str
        One of ``fastconv.filters.NAMES``.

    Returns
    -------
    numpy.ndarray, shape (3, 3) or (5, 5), float32
        A new array.

    Raises
    ------
    ValueError
        If there is no kernel of that name.

    References
    ----------
    https://en.wikipedia.org/wiki/Kernel_(image_processing)

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.kernel("sharpen")
    array([[ 0., -1.,  0.],
           [-1.,  5., -1.],
           [ 0., -1.,  0.]], dtype=float32)
    """
    if name not in _KERNELS:
        raise ValueError(f"name: {name!r} is not one of {', '.join(NAMES)}")
    factor, rows = _KERNELS[name]
    return (factor * np.array(rows)).astype(np.float32)


def bank(names: Iterable[str] = NAMES) -> np.ndarray:
    """Several kernels as the filters of one convolution of one-channel images.

    Parameters
    ----------
    names : iterable of str, optional
        The kernels, in the order of the output channels; all of them if omitted.

    Returns
    -------
    numpy.ndarray, shape (KH, KW, 1, len(names)), float32
        Each kernel in the middle of the largest one's size.

    Raises
    ------
    ValueError, TypeError
        If there is no kernel of one of these names, no name at all, or a string in place of a list.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import filters, nn
    >>> image = np.ones((1, 8, 8, 1), np.float32)
    >>> y = nn.conv2d(image, filters.bank(["box-blur", "sobel-x"]), 1, "VALID")
    >>> y.shape, y[0, 0, 0].round(6).tolist()
    ((1, 6, 6, 2), [1.0, 0.0])
    """
    if isinstance(names, str):
        raise TypeError(f"names: expected a list of names, got the string {names!r}; write [{names!r}]")
    kernels = [kernel(name) for name in names]
    if not kernels:
        raise ValueError("names: at least one kernel is needed")
    size = max(len(each) for each in kernels)
    return np.stack([np.pad(each, (size - len(each)) // 2) for each in kernels], axis=-1)[:, :, np.newaxis]
