"""Hand-made image filters: small kernels, and banks of them for one call of ``conv2d``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._types import Border

__all__ = ["BORDERS", "NAMES", "apply", "bank", "kernel"]

BORDERS = ("reflect", "edge", "zero")

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
    ValueError, TypeError
        If there is no kernel of that name, or it is no string.

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
    from fastconv._arguments import describe

    if not isinstance(name, str):
        raise TypeError(f"name: expected a string, got {describe(name)}")
    if name not in _KERNELS:
        raise ValueError(f"name: {describe(name)} is not one of {', '.join(NAMES)}")
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
    from fastconv._arguments import describe

    if isinstance(names, str):
        raise TypeError(f"names: expected a list of names, got the string {names!r}; write [{names!r}]")
    if isinstance(names, bytes) or not isinstance(names, Iterable):
        raise TypeError(f"names: expected a list of names, got {describe(names)}")
    kernels = [kernel(name) for name in names]
    if not kernels:
        raise ValueError("names: at least one kernel is needed")
    size = max(len(each) for each in kernels)
    return np.stack([np.pad(each, (size - len(each)) // 2) for each in kernels], axis=-1)[:, :, np.newaxis]


def apply(image: ArrayLike, kernel: ArrayLike, *, border: Border = "reflect") -> np.ndarray:
    """An image filtered with a kernel, channel by channel, at the same size.

    Parameters
    ----------
    image : array_like, shape (H, W) or (H, W, C)
        One gray or color image; integers and bools become float32.
    kernel : array_like, shape (KH, KW)
        As it is applied: not flipped. ``filters.kernel`` has some by name.
    border : {"reflect", "edge", "zero"}, optional
        What lies outside the image: its mirror image without the edge, the nearest pixel, or zeros. An image
        as narrow as the border has nothing to reflect, and gets the nearest pixel.

    Returns
    -------
    numpy.ndarray
        Of the image's shape, float32, or of the image's dtype if that is a floating one. Values are not cut off.

    Raises
    ------
    ValueError, TypeError
        If a shape has other dimensions, the kernel is empty or has an even size, or there is no such border.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import filters
    >>> photo = np.full((4, 6, 3), 7, np.uint8)
    >>> filters.apply(photo, filters.kernel("gaussian-3x3"))[0, 0]
    array([7., 7., 7.], dtype=float32)
    """
    from fastconv._arguments import DTYPES, array_of, castable, describe
    from fastconv._bands import filtered_bands

    pixels: Any = array_of("image", image)
    if pixels.dtype.kind not in "iub" and pixels.dtype.name not in DTYPES:
        raise TypeError(f"image: dtype {pixels.dtype} cannot be filtered; convert it with astype")
    if isinstance(kernel, str):
        raise TypeError(f"kernel: expected an array, got {kernel!r}; filters.kernel has kernels by name")
    weights: Any = castable("kernel", kernel, "image", np.zeros(0, np.float64))
    if pixels.ndim not in (2, 3):
        raise ValueError(f"image: should have shape (H, W) or (H, W, C), but has {pixels.shape}")
    if weights.ndim != 2 or 0 in weights.shape or any(size % 2 == 0 for size in weights.shape):
        raise ValueError(f"kernel: should have shape (KH, KW), both odd, but has {weights.shape}")
    if not isinstance(border, str) or border not in BORDERS:
        raise ValueError(f"border: {describe(border)} is not one of {', '.join(map(repr, BORDERS))}")
    height, width, channels = pixels.shape if pixels.ndim == 3 else (*pixels.shape, 1)
    dtype = np.float32 if pixels.dtype.kind in "iub" else pixels.dtype
    result = np.empty((channels, height, width), dtype).transpose(1, 2, 0)  # planes, as they are computed
    if pixels.size:
        for first, end, rows in filtered_bands(pixels.reshape(result.shape), weights, border):
            if end - first == height:
                return rows.reshape(pixels.shape)
            result[first:end] = rows
    return result.reshape(pixels.shape)


def __dir__() -> list[str]:
    return __all__
