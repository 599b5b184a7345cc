"""Pooling of CuPy arrays: what is launched for the windows of ``fastconv.nn._windows``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cupy
import numpy as np

from fastconv._cuda import planner
from fastconv._cuda.launch import NOTHING, Launch, compiled, packed

if TYPE_CHECKING:
    from fastconv.nn._windows import Windows

# struct Pool in pool.cu, field for field.
_LONG = "image row column channel result_image result_row result_column result_channel count"
_SHORT = "height width channels rows columns size_h size_w step_h step_w start_h start_w unused"
POOL = np.dtype([(name, np.int64) for name in _LONG.split()] + [(name, np.int32) for name in _SHORT.split()])


def _launch(entry: str, windows: Windows, average: bool, images: Any, cells: Any, count: int) -> Launch:
    """For NHWC images, or their gradient, and what has a cell for each window; of any strides."""
    kernel = planner.pool(entry, images.dtype.name, average)
    names = "image", "row", "column", "channel"
    steps = {name: stride // images.itemsize for name, stride in zip(names, images.strides)}
    steps |= {f"result_{name}": stride // cells.itemsize for name, stride in zip(names, cells.strides)}
    arguments = packed(
        POOL,
        **steps,
        count=count,
        height=images.shape[1],
        width=images.shape[2],
        channels=images.shape[3],
        rows=windows.out[0],
        columns=windows.out[1],
        size_h=windows.size[0],
        size_w=windows.size[1],
        step_h=windows.stride[0],
        step_w=windows.stride[1],
        start_h=-windows.before[0],
        start_w=-windows.before[1],
    )
    grid = -(-count // kernel.threads), 1, 1
    return Launch(compiled(kernel, images.device.id), grid, (kernel.threads, 1, 1), 0, (arguments,))


def run_pool(windows: Windows, average: bool, images: Any, result: Any, places: Any = None) -> None:
    """The pool of NHWC images, and the places of the maxima if there is an array for them."""
    if result.size:
        with cupy.cuda.Device(images.device.id):
            launch = _launch("fc_pool", windows, average, images, result, result.size)
            launch.run(images, result, NOTHING if places is None else places)


def largest(windows: Windows, images: Any) -> tuple[Any, Any]:
    """Each window's maximum, and its first place in the image, row * W + column; the first NaN where there is one."""
    if images.dtype.kind in "iu":
        best, places = largest(windows, _exact(images))
        return best.astype(images.dtype), places
    shape = (images.shape[0], *windows.out, images.shape[3])
    with cupy.cuda.Device(images.device.id):
        best, places = cupy.empty(shape, images.dtype), cupy.empty(shape, np.int64)
    run_pool(windows, False, images, best, places)
    return best, places


def _exact(integers: Any) -> Any:
    """Integers as float64, which holds those of up to 32 bits."""
    if integers.itemsize > 4:
        raise TypeError(f"input: maxima of dtype {integers.dtype} have no places on a device; convert it with astype")
    return integers.astype(np.float64)


def run_gradient(windows: Windows, images: Any, gradient: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The gradient of NHWC images of this shape: of their maximum or, without images, their mean."""
    gradient = gradient.astype(dtype, copy=False)
    if gradient.dtype.kind in "iu":  # sums of 32 bits are exact in float64, and wrap when they are narrowed
        exact = run_gradient(windows, images, _exact(gradient), shape, np.float64)
        return exact.astype(np.int64).astype(dtype)
    with cupy.cuda.Device(gradient.device.id):
        result = cupy.empty(shape, dtype)
        if result.size:
            places = NOTHING if images is None else largest(windows, images)[1]
            launch = _launch("fc_pool_gradient", windows, images is None, result, gradient, result.size)
            launch.run(gradient, result, places)
    return result
