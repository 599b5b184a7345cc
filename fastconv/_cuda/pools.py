"""Pools of CuPy arrays: what is launched, on the current device."""

from __future__ import annotations

import functools
import math
from typing import Any

import cupy
import numpy as np

from fastconv._cuda import planner
from fastconv._cuda.launch import NOTHING, Launch, check_span, pack, prepare_launch
from fastconv._cuda.memory import on_one_device
from fastconv._problem import PoolProblem

# struct Pool in pool.cu, field for field.
_LONG = "image row column channel result_image result_row result_column result_channel count"
_SHORT = "height width channels rows columns size_h size_w step_h step_w start_h start_w unused"
POOL = np.dtype([(name, np.int64) for name in _LONG.split()] + [(name, np.int32) for name in _SHORT.split()])


@functools.lru_cache(maxsize=1024)
def _launch(
    entry: str,
    problem: PoolProblem,
    average: bool,
    element: str,
    number: int,
    shape: tuple[int, ...],
    steps: tuple[int, ...],
    cell_steps: tuple[int, ...],
) -> Launch:
    """For NHWC images of this shape, or their gradient, and what has a cell for each window; strides in elements.

    Its many arguments are the key that the launch is remembered by.
    """
    for axis, extent, size, step, out, before in zip(("height", "width"), shape[1:3], *problem[1:5]):
        check_span(axis, extent + before + (out - 1) * step + size)
    kernel = planner.pool(entry, element, average)
    names = "image", "row", "column", "channel"
    cells = (shape[0], *problem.out, shape[3])
    count = math.prod(cells if entry == "fc_pool" else shape)
    arguments = pack(
        POOL,
        **dict(zip(names, steps)),
        **{f"result_{name}": step for name, step in zip(names, cell_steps)},
        count=count,
        height=shape[1],
        width=shape[2],
        channels=shape[3],
        rows=problem.out[0],
        columns=problem.out[1],
        size_h=problem.size[0],
        size_w=problem.size[1],
        step_h=problem.stride[0],
        step_w=problem.stride[1],
        start_h=-problem.before[0],
        start_w=-problem.before[1],
    )
    return prepare_launch(kernel, number, (-(-count // kernel.threads), 1, 1), arguments)


def _launch_for(entry: str, problem: PoolProblem, average: bool, images: Any, cells: Any) -> Launch:
    steps, cell_steps = (tuple([stride // array.itemsize for stride in array.strides]) for array in (images, cells))
    return _launch(entry, problem, average, images.dtype.name, images.device.id, images.shape, steps, cell_steps)


def pool(problem: PoolProblem, average: bool, images: Any, result: Any, places: Any = None) -> None:
    """The pool of NHWC images, and the places of the maxima if there is an array for them."""
    if result.size:
        launch = _launch_for("fc_pool", problem, average, images, result)
        launch.run(images, result, NOTHING if places is None else places)


def largest(problem: PoolProblem, images: Any) -> tuple[Any, Any]:
    """Each window's maximum, and its first place in the image, row * W + column; the first NaN where there is one."""
    if images.dtype.kind == "u":
        best, places = largest(problem, _ordered(images.astype(np.uint64)))
        return _ordered(best).astype(images.dtype), places
    if images.dtype.kind == "i" and images.dtype != np.int64:
        best, places = largest(problem, images.astype(np.int64))
        return best.astype(images.dtype), places
    shape = (images.shape[0], *problem.out, images.shape[3])
    best, places = cupy.empty(shape, images.dtype), cupy.empty(shape, np.int64)
    pool(problem, False, images, best, places)
    return best, places


def _ordered(integers: Any) -> Any:
    """64-bit integers with another sign, in the same order; or those back."""
    signed = integers.dtype.kind == "i"
    turned = integers.view(np.uint64) ^ np.uint64(1 << 63)
    return turned if signed else turned.view(np.int64)


def pool_gradient(problem: PoolProblem, images: Any, gradient: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The gradient of NHWC images of this shape: of their maximum or, without images, their mean."""
    on_one_device(gradient, images)
    gradient = gradient.astype(dtype, copy=False)
    if gradient.dtype.kind in "iu" and gradient.dtype != np.int64:  # sums are the same in 64 bits, where they wrap
        return pool_gradient(problem, images, gradient.astype(np.int64), shape, np.int64).astype(dtype)
    result = cupy.empty(shape, dtype)
    if result.size:
        places = NOTHING if images is None else largest(problem, images)[1]
        launch = _launch_for("fc_pool_gradient", problem, images is None, result, gradient)
        launch.run(gradient, result, places)
    return result
