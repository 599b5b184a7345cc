"""The windows of a pool: which cells each of them holds, and how the kernels are given them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastconv._arguments import channels_first, dense, explicit_padding, image_padding, spatial, told
from fastconv._backend import is_on_device
from fastconv._cpu import _core
from fastconv._problem import Pair, output_size
from fastconv._threads import threads_for


class Windows(NamedTuple):
    """The geometry of a pool; sizes, strides and pads along (height, width)."""

    first: bool  # channels come first in the arrays
    size: Pair
    stride: Pair
    out: Pair
    before: Pair

    def cells(self, images: np.ndarray) -> Iterator[tuple[tuple[int, int], np.ndarray, tuple[slice, slice]]]:
        """For each cell of the window that meets any image cell: those in NHWC images, and their outputs."""
        for i in self._reaching(0, images.shape[1]):
            rows, taken_rows = _outputs(i, self.out[0], self.stride[0], self.before[0], images.shape[1])
            for j in self._reaching(1, images.shape[2]):
                columns, taken_columns = _outputs(j, self.out[1], self.stride[1], self.before[1], images.shape[2])
                yield (i, j), images[:, rows, columns], (taken_rows, taken_columns)

    def of_outputs(self, first: int, end: int, height: int) -> tuple[int, int, Windows]:
        """The image rows that these rows of outputs read, first to end - 1, and the windows over those rows alone."""
        top = first * self.stride[0] - self.before[0]
        start, stop = max(0, top), min(height, top + (end - first - 1) * self.stride[0] + self.size[0])
        return start, stop, self._replace(out=(end - first, self.out[1]), before=(start - top, self.before[1]))

    def outputs_of(self, first: int, end: int) -> tuple[int, int]:
        """The rows of outputs that read any of these image rows: first to end - 1."""
        low = -((self.size[0] - 1 - self.before[0] - first) // self.stride[0])
        high = (end - 1 + self.before[0]) // self.stride[0] + 1
        return max(0, low), min(self.out[0], high)

    def _reaching(self, axis: int, size: int) -> range:
        """The cells of a window along one axis that lie inside the image for any output."""
        last_start = (self.out[axis] - 1) * self.stride[axis] - self.before[axis]
        return range(max(0, -last_start), min(self.size[axis], self.before[axis] + size))


def _outputs(cell: int, out: int, stride: int, before: int, size: int) -> tuple[slice, slice]:
    """Along one axis: the input cells that a window's cell meets inside the image, and their outputs."""
    low = max(0, -((cell - before) // stride))
    high = min(out, -((cell - before - size) // stride))
    if high <= low:
        return slice(0, 0), slice(0, 0)
    start = low * stride + cell - before
    return slice(start, start + (high - low - 1) * stride + 1, stride), slice(low, high)


def as_images(windows: Windows, array: np.ndarray) -> np.ndarray:
    """The array seen as NHWC."""
    return array.transpose(0, 2, 3, 1) if windows.first else array


def as_given(windows: Windows, images: np.ndarray) -> np.ndarray:
    """NHWC images in the caller's layout, C-contiguous."""
    return images.transpose(0, 3, 1, 2).copy(order="C") if windows.first else images


def _extent(name: str, value: Any, first: bool) -> tuple[Pair, int]:
    """Height and width of ``ksize`` or ``strides``, and the entry for channels."""
    if value is None:
        raise TypeError(f"{name}: expected an integer or a list of them, got None")
    values = spatial(name, value)
    if min(values) < 1:
        raise ValueError(f"{name}: {list(values)}: entries should be larger than 0")
    if len(values) < 4:
        h, w = values * (3 - len(values))
        return (h, w), 1
    n, c, h, w = values if first else (values[0], values[3], *values[1:3])
    if n != 1:
        raise NotImplementedError(f"{name}: {list(values)} has an entry other than 1 in the batch dimension")
    return (h, w), c


def windows_of(
    name: str, shape: tuple[int, ...], ksize: Any, strides: Any, padding: Any, data_format: str | None, explicit: bool
) -> tuple[Windows, int]:
    """The geometry of a pool over images of this shape, and how many channels a window spans."""
    pads = explicit_padding(padding)
    if not explicit and not isinstance(pads, str):
        raise TypeError(f"padding: expected 'SAME' or 'VALID', got {told(padding)}")
    first = channels_first(data_format)
    size, depth = _extent("ksize", ksize, first)
    stride, depth_stride = _extent("strides", strides, first)
    if len(shape) != 4:
        raise ValueError(f"{name}: must be 4-dimensional, but has {len(shape)} dimensions (shape {shape})")
    if depth > 1 or depth_stride > 1:
        channels = shape[1 if first else 3]
        if not explicit or size != (1, 1) or stride != (1, 1) or depth != depth_stride or channels % depth:
            raise NotImplementedError(
                f"ksize: pooling over {depth} channels, strides {told(strides)}, of {name} of shape {shape}: only the"
                " largest of equal, separate groups of channels at single pixels is computed"
            )
    axes = image_padding(pads, first)
    pairs = (axes, axes) if isinstance(axes, str) else axes
    found = []
    for axis, label in enumerate(("height", "width")):
        pair = pairs[axis]
        if not isinstance(pair, str) and max(pair) >= size[axis]:
            raise ValueError(f"padding: {told(padding)} must be smaller than the window size, ksize {told(ksize)}")
        cells = shape[(2 if first else 1) + axis]
        shapes = f"{name} shape {shape}, ksize {told(ksize)}"
        found.append(output_size("ksize", label, cells, size[axis], stride[axis], 1, pair, shapes, True))
    (oh, top, _), (ow, left, _) = found
    return Windows(first, size, stride, (oh, ow), (top, left)), depth


def result_shape(windows: Windows, shape: tuple[int, ...], channels: int) -> tuple[int, ...]:
    return (shape[0], channels, *windows.out) if windows.first else (shape[0], *windows.out, channels)


def in_c(x: np.ndarray) -> bool:
    """Whether there are kernels for the dtype, and something to do."""
    return x.dtype.kind not in "iu" and x.size > 0


def arithmetic(dtype: np.dtype) -> Any:
    return np.float64 if dtype == np.float64 else np.float32


def _dense(images: np.ndarray, dtype: Any) -> np.ndarray:
    """NHWC images of this dtype whose channels lie side by side."""
    images = images.astype(dtype, copy=False)
    steps = [stride % images.itemsize for stride in images.strides]
    ready = images.flags.aligned and images.dtype.isnative and not any(steps)
    if ready and (images.strides[3] == images.itemsize or images.shape[3] == 1):
        return images
    return dense(images)


def run_pool(windows: Windows, average: bool, images: np.ndarray, result: np.ndarray) -> None:
    """The pool of NHWC images, into a result of any layout."""
    if is_on_device(images):
        from fastconv._cuda.pools import run_pool as run_on_device

        run_on_device(windows, average, images, result)
        return
    _pool(windows, average, images, result)


def find_places(windows: Windows, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each window's maximum in NHWC images of a floating dtype, and its first place, row * W + column."""
    shape = (images.shape[0], *windows.out, images.shape[3])
    y, places = np.empty(shape, images.dtype), np.empty(shape, np.int64)
    _pool(windows, False, images, y, places)
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
    windows: Windows, average: bool, images: np.ndarray, result: np.ndarray, places: np.ndarray | None = None
) -> None:
    if not result.size:
        return
    wide = arithmetic(images.dtype)
    n, h, w, c = images.shape
    step = w * c * windows.stride[0]  # elements that a row of outputs adds to those that are read
    for some, first, end in _portions(n, windows.out[0], step, images.dtype != wide):
        start, stop, part = windows.of_outputs(first, end, h)
        x, to = _dense(images[some, start:stop], wide), result[some, first:end]
        y = to if to.dtype == wide and to.flags.c_contiguous else np.empty(to.shape, wide)
        at = places if places is None or places.shape == to.shape else np.empty(to.shape, np.int64)
        threads = threads_for((1 if places is None else 2) * y.size * windows.size[0] * windows.size[1])
        _core.pool(average, x, y, None, None, x.shape, part, threads, at)
        if y is not to:
            to[...] = y
        if places is not None and at is not places:
            places[some, first:end] = at + start * w


def run_gradient(
    windows: Windows, images: np.ndarray | None, gradient: np.ndarray, shape: tuple[int, ...], dtype: Any
) -> np.ndarray:
    """The gradient of NHWC images in the caller's layout: of their maximum or, without images, their mean."""
    if is_on_device(gradient):
        from fastconv._cuda.pools import run_gradient as run_on_device

        return as_given(windows, run_on_device(windows, images, gradient, shape, dtype))
    wide = arithmetic(dtype)
    n, h, w, c = shape
    dx = np.empty(shape, dtype)
    if dx.size == 0:
        return as_given(windows, dx)
    for some, first, end in _portions(n, h, w * c, dx.dtype != wide):
        low, high = windows.outputs_of(first, end)
        if low >= high or not gradient.size:
            dx[some, first:end] = 0
            continue
        start, stop, part = windows.of_outputs(low, high, h)
        stop = max(stop, end)  # rows that no window reads get zeros
        x = None if images is None else _dense(images[some, start:stop], wide)
        dy = dense(gradient[some, low:high], wide)
        sums = dx if dx.dtype == wide else np.empty((len(dy), stop - start, w, c), wide)
        threads = threads_for(dy.size * windows.size[0] * windows.size[1])
        _core.pool(images is None, x, None, dy, sums, sums.shape, part, threads)
        if sums is not dx:
            dx[some, first:start] = 0
            dx[some, max(first, start) : end] = sums[:, max(first, start) - start : end - start]
    return as_given(windows, dx)
