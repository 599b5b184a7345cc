"""The arguments of pools: windows in the caller's spelling, and images in the caller's layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._arguments import channels_first, describe, explicit_padding, image_padding, spatial
from fastconv._problem import Pair, PoolProblem, channels_last, output_size


def as_images(problem: PoolProblem, array: np.ndarray) -> np.ndarray:
    """The array seen as NHWC."""
    return channels_last(array, problem.first)  # type: ignore[no-any-return]


def as_given(problem: PoolProblem, images: np.ndarray) -> np.ndarray:
    """NHWC images in the caller's layout, C-contiguous."""
    return images.transpose(0, 3, 1, 2).copy(order="C") if problem.first else images


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
) -> tuple[PoolProblem, int]:
    """The geometry of a pool over images of this shape, and how many channels a window spans."""
    pads = explicit_padding(padding)
    if not explicit and not isinstance(pads, str):
        raise TypeError(f"padding: expected 'SAME' or 'VALID', got {describe(padding)}")
    first = channels_first(data_format)
    size, depth = _extent("ksize", ksize, first)
    stride, depth_stride = _extent("strides", strides, first)
    if len(shape) != 4:
        raise ValueError(f"{name}: must be 4-dimensional, but has {len(shape)} dimensions (shape {shape})")
    if depth > 1 or depth_stride > 1:
        channels = shape[1 if first else 3]
        if not explicit or size != (1, 1) or stride != (1, 1) or depth != depth_stride or channels % depth:
            raise NotImplementedError(
                f"ksize: pooling over {depth} channels, strides {describe(strides)}, of {name} of shape {shape}: only"
                " the largest of equal, separate groups of channels at single pixels is computed"
            )
    axes = image_padding(pads, first)
    pairs = (axes, axes) if isinstance(axes, str) else axes
    found = []
    for axis, label in enumerate(("height", "width")):
        pair = pairs[axis]
        if not isinstance(pair, str) and max(pair) >= size[axis]:
            raise ValueError(
                f"padding: {describe(padding)} must be smaller than the window size, ksize {describe(ksize)}"
            )
        cells = shape[(2 if first else 1) + axis]
        shapes = f"{name} shape {shape}, ksize {describe(ksize)}"
        found.append(output_size("ksize", label, cells, size[axis], stride[axis], 1, pair, shapes, True))
    (oh, top, _), (ow, left, _) = found
    return PoolProblem(first, size, stride, (oh, ow), (top, left)), depth


def result_shape(problem: PoolProblem, shape: tuple[int, ...], channels: int) -> tuple[int, ...]:
    return (shape[0], channels, *problem.out) if problem.first else (shape[0], *problem.out, channels)
