"""The geometry of convolutions and pools: output sizes, SAME padding, and every error about shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_MOST_BYTES = 2**63 - 1
_WIDEST = 8  # bytes in an element of the widest dtype
_WIDEST_WINDOW = 2**60  # cells; beyond, positions would overflow 64 bits

Pair = tuple[int, int]
Padding = str | tuple[Pair, Pair]  # "SAME", "VALID" or ((top, bottom), (left, right))


class Axis(NamedTuple):
    """One axis of a convolution or a pool: which outputs meet which cells of the image.

    Output ``o`` meets, at tap ``t``, cell ``o * stride + t * dilation - before``; it lies in the image if it is one of
    0 to ``size`` - 1.

    Parameters
    ----------
    size : int
        Cells of the image.
    taps : int
        Taps of a filter, or cells of a window.
    outputs : int
        The number of windows.
    stride, dilation : int
        Cells between neighboring windows, and between neighboring taps.
    before : int
        Cells of padding before the image.

    Examples
    --------
    >>> axis = ConvProblem.parse("n1h5w5c1_k3x3f1_s1x1_d1x1_p1,1,1,1_g1").axis_h
    >>> axis.outputs_inside(0)  # the first output's first tap lies in the padding
    range(1, 5)
    """

    size: int
    taps: int
    outputs: int
    stride: int
    dilation: int
    before: int

    def cell(self, output: int, tap: int) -> int:
        """The cell that an output meets at a tap, which may lie outside the image."""
        return output * self.stride + tap * self.dilation - self.before

    def outputs_inside(self, tap: int) -> range:
        """The outputs whose window has this tap in the image."""
        first = self.cell(0, tap)
        low = max(0, -(first // self.stride))
        return range(low, max(low, min(self.outputs, -((first - self.size) // self.stride))))


class ConvProblem(NamedTuple):
    """The sizes of one convolution, the same for its three directions and for every device.

    Parameters
    ----------
    n, h, w, c : int
        Images, and rows, columns and channels of each.
    kh, kw, f : int
        Rows and columns of a filter, and output channels.
    oh, ow : int
        Rows and columns of the output.
    stride_h, stride_w, dilation_h, dilation_w : int
        Steps, in cells, between neighboring windows and between neighboring taps (1: dense).
    pad_top, pad_bottom, pad_left, pad_right : int
        Cells of zeros around the image; SAME is already resolved.
    groups : int
        1: dense; c: depthwise.

    Examples
    --------
    >>> problem = ConvProblem.parse("n1h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1")
    >>> problem.oh, problem.ow
    (56, 56)
    >>> str(problem)
    'n1h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1'
    """

    n: int
    h: int
    w: int
    c: int
    kh: int
    kw: int
    f: int
    oh: int
    ow: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    pad_top: int
    pad_bottom: int
    pad_left: int
    pad_right: int
    groups: int

    @property
    def axis_h(self) -> Axis:
        return Axis(self.h, self.kh, self.oh, self.stride_h, self.dilation_h, self.pad_top)

    @property
    def axis_w(self) -> Axis:
        return Axis(self.w, self.kw, self.ow, self.stride_w, self.dilation_w, self.pad_left)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the forward pass, those on padding included."""
        return self.n * self.oh * self.ow * self.f * self.kh * self.kw * (self.c // self.groups)

    @property
    def output_is_empty(self) -> bool:
        return 0 in (self.n, self.oh, self.ow, self.f)

    @property
    def input_is_empty(self) -> bool:
        return 0 in (self.n, self.h, self.w, self.c)

    @property
    def filter_is_empty(self) -> bool:
        return 0 in (self.kh, self.kw)

    @property
    def is_column(self) -> bool:
        """Whether images and filters are columns, of more than one tap: the same memory as rows."""
        return self.w == self.kw == self.ow == 1 and self.h > 1 and self.kh > 1

    def as_row(self) -> ConvProblem:
        """This problem with columns read as rows; only where ``is_column`` holds."""
        return self._replace(
            h=1,
            w=self.h,
            kh=1,
            kw=self.kh,
            oh=1,
            ow=self.oh,
            stride_h=1,
            stride_w=self.stride_h,
            dilation_h=1,
            dilation_w=self.dilation_h,
            pad_top=0,
            pad_bottom=0,
            pad_left=self.pad_top,
            pad_right=self.pad_bottom,
        )

    def __str__(self) -> str:
        return (
            f"n{self.n}h{self.h}w{self.w}c{self.c}_k{self.kh}x{self.kw}f{self.f}"
            f"_s{self.stride_h}x{self.stride_w}_d{self.dilation_h}x{self.dilation_w}"
            f"_p{self.pad_top},{self.pad_bottom},{self.pad_left},{self.pad_right}_g{self.groups}"
        )

    @classmethod
    def parse(cls, token: str) -> ConvProblem:
        """The problem that a token describes: the inverse of ``str``.

        Raises
        ------
        ValueError
            If the token is malformed, or the sizes in it do not fit together.
        """
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise ValueError(f"{token!r} is not a problem, such as 'n1h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1'")
        n, h, w, c, kh, kw, f, sh, sw, dh, dw, top, bottom, left, right, groups = map(int, found.groups())
        if groups < 1 or c % groups:
            raise ValueError(f"{token!r}: {c} channels do not divide into {groups} groups")
        if min(sh, sw, dh, dw) < 1:
            raise ValueError(f"{token!r}: strides and dilations should be larger than 0")
        return conv_problem(
            (n, h, w, c),
            (kh, kw, c // groups, f),
            (sh, sw),
            ((top, bottom), (left, right)),
            (dh, dw),
            channels_first=False,
        )


_TOKEN = re.compile(
    r"n(\d+)h(\d+)w(\d+)c(\d+)_k(\d+)x(\d+)f(\d+)_s(\d+)x(\d+)_d(\d+)x(\d+)_p(\d+),(\d+),(\d+),(\d+)_g(\d+)"
)


class PoolProblem(NamedTuple):
    """The geometry of a pool: which cells each window holds; sizes, strides and pads along (height, width)."""

    first: bool  # channels come first in the arrays
    size: Pair
    stride: Pair
    out: Pair
    before: Pair

    def cells(self, images: Any) -> Iterator[tuple[tuple[int, int], Any, tuple[slice, slice]]]:
        """For each cell of the window that meets any image cell: those in NHWC images, and their outputs."""
        rows, columns = (self._axis(axis, images.shape[1 + axis]) for axis in (0, 1))
        for i, taken_rows, met_rows in _cells_met(rows):
            for j, taken_columns, met_columns in _cells_met(columns):
                yield (i, j), images[:, met_rows, met_columns], (taken_rows, taken_columns)

    def _axis(self, axis: int, size: int) -> Axis:
        return Axis(size, self.size[axis], self.out[axis], self.stride[axis], 1, self.before[axis])

    def of_outputs(self, first: int, end: int, height: int) -> tuple[int, int, PoolProblem]:
        """The image rows that these rows of outputs read, first to end - 1, and the windows over those rows alone."""
        top = first * self.stride[0] - self.before[0]
        start, stop = max(0, top), min(height, top + (end - first - 1) * self.stride[0] + self.size[0])
        return start, stop, self._replace(out=(end - first, self.out[1]), before=(start - top, self.before[1]))

    def outputs_of(self, first: int, end: int) -> tuple[int, int]:
        """The rows of outputs that read any of these image rows: first to end - 1."""
        low = -((self.size[0] - 1 - self.before[0] - first) // self.stride[0])
        high = (end - 1 + self.before[0]) // self.stride[0] + 1
        return max(0, low), min(self.out[0], high)


def channels_last(images: Any, channels_first: bool) -> Any:
    """Images (N, C, H, W), if `channels_first`, or NHWC, seen as NHWC."""
    return images.transpose(0, 2, 3, 1) if channels_first else images


def _cells_met(axis: Axis) -> Iterator[tuple[int, slice, slice]]:
    """Yields each tap that meets image cells, the outputs for which it does, and the cells."""
    for tap in range(axis.taps):
        outputs = axis.outputs_inside(tap)
        if outputs:
            first, last = axis.cell(outputs[0], tap), axis.cell(outputs[-1], tap)
            yield tap, slice(outputs.start, outputs.stop), slice(first, last + 1, axis.stride)


def output_size(
    name: str,
    axis: str,
    size: int,
    taps: int,
    stride: int,
    dilation: int,
    padding: str | Pair,
    shapes: str,
    gradient: bool,
) -> tuple[int, int, int]:
    """Output size of one axis, and the padding before and after it.

    Its many arguments are those of one axis, and what the error names: `name`, `axis` and `shapes`.
    """
    window = (taps - 1) * dilation + 1
    if padding == "SAME":
        out = -(-size // stride)
        total = max(0, (out - 1) * stride + window - size)
        return out, total // 2, total - total // 2
    before, after = (0, 0) if isinstance(padding, str) else padding
    padded = size + before + after
    if gradient and 0 < window - padded < 2 * stride:  # TensorFlow's formula gives an empty output
        return 0, before, after
    if window > padded:
        what = "filter" if name == "filters" else "window"
        raise ValueError(
            f"{name}: computed output size would be negative: the {what}'s {axis} of {taps}"
            + (f", dilated by {dilation} to {window}," if dilation > 1 else "")
            + f" exceeds the input's {axis} of {size}"
            + (f", padded to {padded}" if padded > size else "")
            + f" ({shapes}, padding {padding!r})"
        )
    return (padded - window) // stride + 1, before, after


def conv_problem(
    input_shape: tuple[int, ...],
    filter_shape: tuple[int, ...],
    strides: Pair,
    padding: Padding,
    dilations: Pair,
    channels_first: bool,
    gradient: bool = False,
) -> ConvProblem:
    """The problem of a convolution, or a ValueError that names the argument and both shapes.

    A gradient, unlike the forward pass, takes windows that barely do not fit, and empty filters: it is zero.
    """
    shapes = f"input shape {input_shape}, filter shape {filter_shape}"
    if len(input_shape) < 4:
        hints = {3: "; one image of shape (H, W, C) is image[None]", 2: "; a gray image is image[None, :, :, None]"}
        hint = hints.get(len(input_shape), "")
        raise ValueError(
            f"input: must be 4-dimensional or more, but has {len(input_shape)} dimensions ({shapes}){hint}"
        )
    if len(filter_shape) != 4:
        raise ValueError(f"filters: must be 4-dimensional, but has {len(filter_shape)} dimensions ({shapes})")
    n = 1
    for size in input_shape[:-3]:
        n *= size
    c, h, w = input_shape[-3:] if channels_first else (input_shape[-1], *input_shape[-3:-1])
    kh, kw, depth, f = filter_shape
    if depth < 1:
        raise ValueError(f"filters: the filter depth, {depth}, must be greater than 0 ({shapes})")
    if c % depth:
        raise ValueError(
            f"filters: the input depth, {c}, must be evenly divisible by the filter depth, {depth} ({shapes})"
            + _likely_cause(input_shape, filter_shape, channels_first)
        )
    groups = max(1, c // depth)
    rows, columns = (padding, padding) if isinstance(padding, str) else padding
    if kh * kw * depth * f * _WIDEST > _MOST_BYTES:
        raise ValueError(f"filters: their shape, {filter_shape}, is too large for an array ({shapes})")
    oh, top, bottom = output_size("filters", "height", h, kh, strides[0], dilations[0], rows, shapes, gradient)
    ow, left, right = output_size("filters", "width", w, kw, strides[1], dilations[1], columns, shapes, gradient)
    if n * oh * ow * f * _WIDEST > _MOST_BYTES:
        raise ValueError(f"input: the output's shape, {(n, oh, ow, f)}, is too large for an array ({shapes})")
    if n * h * w * c * _WIDEST > _MOST_BYTES:
        raise ValueError(f"input: is too large for an array ({shapes})")
    if max((kh - 1) * dilations[0], (kw - 1) * dilations[1]) >= _WIDEST_WINDOW:
        raise ValueError(f"filters: the window, dilated by {dilations}, is too large ({shapes})")
    problem = ConvProblem(n, h, w, c, kh, kw, f, oh, ow, *strides, *dilations, top, bottom, left, right, groups)
    if problem.output_is_empty or problem.input_is_empty or (gradient and problem.filter_is_empty):
        return problem
    if kh * kw == 0:
        raise ValueError(f"filters: must not have zero elements ({shapes})")
    if f % groups:
        raise ValueError(
            f"filters: the output depth, {f}, must be evenly divisible by the number of groups, {groups} ({shapes})"
        )
    return problem


def _likely_cause(input_shape: tuple[int, ...], filter_shape: tuple[int, ...], channels_first: bool) -> str:
    """What shapes that do not fit probably are: PyTorch's filters, or the other data format."""
    depth = input_shape[-3] if channels_first else input_shape[-1]
    other = input_shape[-1] if channels_first else input_shape[-3]
    if filter_shape[1] == depth and filter_shape[2] == filter_shape[3]:
        return "; filters are (KH, KW, C, F), and these look like (F, C, KH, KW): transpose(2, 3, 1, 0)"
    if other == filter_shape[2]:
        return f"; the shapes fit data_format={'NHWC' if channels_first else 'NCHW'!r}"
    if filter_shape[1] == other and filter_shape[2] == filter_shape[3]:
        layout = "NHWC" if channels_first else "NCHW"
        return f"; the shapes fit data_format={layout!r} and filters of (F, C, KH, KW): transpose(2, 3, 1, 0)"
    return ""


def array_shape(problem: ConvProblem, input_shape: tuple[int, ...], channels_first: bool) -> tuple[int, ...]:
    """The output's shape in the caller's layout, with the input's batch dimensions."""
    image = (problem.f, problem.oh, problem.ow) if channels_first else (problem.oh, problem.ow, problem.f)
    return (*input_shape[:-3], *image)
