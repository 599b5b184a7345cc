"""An image filtered some rows at a time, so that a large one needs little memory beside itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.nn import conv2d

# Elements of a band: enough for all threads, and few enough for the caches between its steps.
_ELEMENTS = 1 << 20


def filtered_bands(image: np.ndarray, kernel: np.ndarray, border: str) -> Iterator[tuple[int, int, np.ndarray]]:
    """Rows first to end - 1 of the filtered image (H, W, C), band by band from the top.

    Integers are computed in float32. The kernel has odd sizes; the border is one of ``filters.BORDERS``.
    """
    height, width, channels = image.shape
    above, beside = (size // 2 for size in kernel.shape)
    if border == "reflect" and (height <= above or width <= beside):
        border = "edge"  # an image so narrow has nothing to reflect
    rows, columns = (_places(size, beyond, border) for size, beyond in ((height, above), (width, beside)))
    dtype = np.dtype(np.float32) if image.dtype.kind in "iub" else image.dtype
    most = max(1, _ELEMENTS // (width * channels))
    for first in range(0, height, most):
        end = min(height, first + most)
        top = first - above  # the image's row that is the band's first
        low, high = max(0, top), min(height, end + above)
        planes = np.zeros((channels, end + above - top, width + 2 * beside, 1), dtype)
        pixels = planes[:, :, beside : beside + width, 0]
        pixels[:, low - top : high - top] = image[low:high].transpose(2, 0, 1)
        if border != "zero":
            for row in (*range(top, low), *range(high, end + above)):
                pixels[:, row - top] = image[rows[row + above]].T
            for column in (*range(beside), *range(beside + width, width + 2 * beside)):
                planes[:, :, column] = planes[:, :, beside + columns[column]]
        yield first, end, conv2d(planes, kernel[:, :, np.newaxis, np.newaxis], 1, "VALID")[..., 0].transpose(1, 2, 0)


def _places(size: int, beyond: int, border: str) -> np.ndarray:
    """Which of so many rows, or columns, each is a copy of, with those that lie beyond either end."""
    mode: Any = "edge" if border == "zero" else border
    return np.pad(np.arange(size), beyond, mode=mode)
