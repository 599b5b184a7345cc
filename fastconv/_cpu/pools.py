"""Pools of NumPy arrays by the kernels, which compute in float32 or float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv._arguments import arithmetic, dense
from fastconv._cpu import _layers
from fastconv._problem import PoolProblem
from fastconv._threads import threads_for


def _has_kernel(dtype: np.dtype) -> bool:
    return dtype.kind not in "iu"


def _dense(images: np.ndarray, dtype: Any) -> np.ndarray:
    """NHWC images of this dtype whose channels lie side by side."""
    images = images.astype(dtype, copy=False)
    steps = [stride % images.itemsize for stride in images.strides]
    ready = images.flags.aligned and images.dtype.isnative and not any(steps)
    if ready and (images.strides[3] == images.itemsize or images.shape[3] == 1):
        return images
    return dense(images)


def pool(problem: PoolProblem, average: bool, images: np.ndarray, result: np.ndarray) -> bool:
    """The pool of NHWC images, into a result of any layout; whether there is a kernel."""
    if not _has_kernel(images.dtype) or not (average or images.size):
        return False
    _pool(problem, average, images, result)
    return True


def largest(problem: PoolProblem, images: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Each window's maximum, and its first place, row * W + column; None where there is no kernel."""
    if not _has_kernel(images.dtype) or not images.size:
        return None
    shape = (images.shape[0], *problem.out, images.shape[3])
    y, places = np.empty(shape, images.dtype), np.empty(shape, np.int64)
    _pool(problem, False, images, y, places)
    return y, places


# Dtypes without kernels are computed in float32, so many elements at a time: few enough for the caches.
_CONVERTED = 1 << 20


def _portions(images: int, rows: int, row_size: int, converted: bool) -> Iterator[tuple[slice, int, int]]:
    """Ranges of images and of their rows: all, or as many elements as are converted at a time."""
    if not converted:
        yield slice(0, images), 0, rows
        return
    high = max(1, _CONVERTED // max(1, row_size))
    some = max(1, high // max(1, rows))
    for image in range(0, images, some):
        for row in range(0, rows, high):
            yield slice(image, image + some), row, min(rows, row + high)


def _pool(
    problem: PoolProblem, average: bool, images: np.ndarray, result: np.ndarray, places: np.ndarray | None = None
) -> None:
    if not result.size:
        return
    wide = arithmetic(images.dtype)
    n, h, w, c = images.shape
    step = w * c * problem.stride[0]  # elements that a row of outputs adds to those that are read
    for some, first, end in _portions(n, problem.out[0], step, images.dtype != wide):
        start, stop, part = problem.of_outputs(first, end, h)
        x, to = _dense(images[some, start:stop], wide), result[some, first:end]
        y = to if to.dtype == wide and to.flags.c_contiguous else np.empty(to.shape, wide)
        at = places if places is None or places.shape == to.shape else np.empty(to.shape, np.int64)
        threads = threads_for((1 if places is None else 2) * y.size * problem.size[0] * problem.size[1])
        _layers.pool(average, x, y, None, None, x.shape, part, threads, at)
        if y is not to:
            to[...] = y
        if places is not None and at is not places:
            places[some, first:end] = at + start * w


def pool_gradient(
    problem: PoolProblem, images: np.ndarray | None, gradient: np.ndarray, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray | None:
    """The gradient of NHWC images: of their maximum or, without images, their mean; None where there is no kernel."""
    if not _has_kernel(dtype):
        return None
    wide = arithmetic(dtype)
    n, h, w, c = shape
    dx = np.empty(shape, dtype)
    if dx.size == 0:
        return dx
    for some, first, end in _portions(n, h, w * c, dx.dtype != wide):
        low, high = problem.outputs_of(first, end)
        if low >= high or not gradient.size:
            dx[some, first:end] = 0
            continue
        start, stop, part = problem.of_outputs(low, high, h)
        stop = max(stop, end)  # rows that no window reads get zeros
        x = None if images is None else _dense(images[some, start:stop], wide)
        dy = dense(gradient[some, low:high], wide)
        sums = dx if dx.dtype == wide else np.empty((len(dy), stop - start, w, c), wide)
        threads = threads_for(dy.size * problem.size[0] * problem.size[1])
        _layers.pool(images is None, x, None, dy, sums, sums.shape, part, threads)
        if sums is not dx:
            dx[some, first:start] = 0
            dx[some, max(first, start) : end] = sums[:, max(first, start) - start : end - start]
    return dx
