"""What is launched on a device for a convolution, with which arguments."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastconv._cuda import planner
from fastconv._cuda.launch import ACTIVATIONS, NOTHING, Device, Launch, check_span, pack, prepare_launch
from fastconv._cuda.memory import workspace
from fastconv._cuda.planner import Work
from fastconv._cuda.pointwise import apply_epilogue
from fastconv._parts import Part, polyphase
from fastconv._problem import ConvProblem
from fastconv._types import accumulator

# struct Gather in gather.cuh, field for field.
_LONG = """
    pixels source_image source_row source_column result_image result_row result_column filter_row filter_column
    filter_channel filter_output filter_group filter_start result_start slice_pixels slice_stride first_block
"""
_SHORT = """
    rows columns height width taps_h taps_w channels outputs groups step_h step_w reach_h reach_w start_h start_w
    column_tiles activation wide
"""
GATHER = np.dtype([(name, np.int64) for name in _LONG.split()] + [(name, np.int32) for name in _SHORT.split()])
_NEVER = np.iinfo(np.int64).max  # the first block of what a launch does not have


# What describes one convolution to a kernel: fields of GATHER.
Fields = dict[str, int]


def _aligned(array: Any) -> bool:
    return bool(array.data.ptr % planner.COPY == 0)


def _is_wide(array: Any, *elements: int) -> bool:
    """Whether 16 bytes can be copied at a time of an array whose channels lie so many elements apart, or in runs."""
    return _aligned(array) and not any(count * array.itemsize % planner.COPY for count in elements)


def _steps(images: Any) -> tuple[int, int, int]:
    """Elements from image to image, row to row, and column to column."""
    n, h, w = (stride // images.itemsize for stride in images.strides[:3])
    return n, h, w


def _forward_fields(p: ConvProblem, images: Any) -> Fields:
    """A convolution of these NHWC images into a dense output."""
    depth, outputs = p.c // p.groups, p.f // p.groups
    image, row, column = _steps(images)
    for axis, size, out, stride, taps, dilation, pads in (
        ("height", p.h, p.oh, p.stride_h, p.kh, p.dilation_h, p.pad_top),
        ("width", p.w, p.ow, p.stride_w, p.kw, p.dilation_w, p.pad_left),
    ):
        check_span(axis, size + pads + (out - 1) * stride + (taps - 1) * dilation)
    return {
        "pixels": p.n * p.oh * p.ow,
        "source_image": image,
        "source_row": row,
        "source_column": column,
        "result_image": p.oh * p.ow * p.f,
        "result_row": p.ow * p.f,
        "result_column": p.f,
        "filter_row": p.kw * depth * p.f,
        "filter_column": depth * p.f,
        "filter_channel": p.f,
        "filter_output": 1,
        "filter_group": outputs,
        "filter_start": 0,
        "result_start": 0,
        "rows": p.oh,
        "columns": p.ow,
        "height": p.h,
        "width": p.w,
        "taps_h": p.kh,
        "taps_w": p.kw,
        "channels": depth,
        "outputs": outputs,
        "groups": p.groups,
        "step_h": p.stride_h,
        "step_w": p.stride_w,
        "reach_h": p.dilation_h,
        "reach_w": p.dilation_w,
        "start_h": -p.pad_top,
        "start_w": -p.pad_left,
    }


def _phase_fields(p: ConvProblem, part: Part, gradient: Any) -> Fields:
    """A phase of the input's gradient: a convolution of the output's, with part of the filters from the other side."""
    tap = p.c // p.groups * p.f
    fields = _forward_fields(part.problem, gradient)
    fields.update(
        result_start=(part.y_row * p.w + part.y_column) * p.c,
        result_image=p.h * p.w * p.c,
        result_row=part.y_step_h * p.w * p.c,
        result_column=part.y_step_w * p.c,
        filter_start=(part.tap_row * p.kw + part.tap_column) * tap,
        filter_row=part.tap_step_h * p.kw * tap,
        filter_column=part.tap_step_w * tap,
        filter_channel=1,
        filter_output=p.f,
        filter_group=p.f // p.groups,
    )
    return fields


class Call(NamedTuple):
    """What the launches of a plan depend on beside the problem."""

    device: Device
    dtype: np.dtype
    precision: str
    activation: str | None
    implementation: str  # one of planner.IMPLEMENTATIONS

    @property
    def is_tiled(self) -> bool:
        return self.implementation in ("implicit_gemm", "warpgroup")


def _launch(
    kernel: planner.Kernel, call: Call, parts: list[Fields], blocks: list[int], repeats: int = 1, **fields: int
) -> Launch:
    """A launch of these parts, of so many blocks each, with more fields that all have."""
    first = [0, *itertools.accumulate(blocks)]
    gathers = np.zeros((), np.dtype([("parts", GATHER, (planner.parts(kernel),))]))
    gathers["parts"]["first_block"] = _NEVER
    for i, part in enumerate(parts):
        gathers["parts"][i] = pack(
            GATHER, **part, **fields, first_block=first[i], activation=ACTIVATIONS.index(call.activation)
        )
    return prepare_launch(kernel, call.device.number, (first[-1], 1, repeats), gathers)


def _product(
    direction: str, call: Call, parts: list[Fields], works: list[Work], wide: tuple[bool, bool], result_is_wide: bool
) -> Launch:
    """The launch of products of matrices, which have the same columns and repeats."""
    kind = planner.arithmetic(call.dtype.name, call.precision, call.device.capability)
    if call.implementation == "warpgroup":
        if call.device.capability != 90 or kind != planner.Arithmetic.HALVES or not all(wide):
            raise ValueError(
                "implementation: 'warpgroup' takes float16 and bfloat16 on compute capability 9.0, in arrays whose"
                f" channels are multiples of 8, but got {call.dtype} on {call.device.capability / 10}, with"
                f" {parts[0]['channels']} and {parts[0]['outputs']} channels"
            )
        kind = planner.Arithmetic.WARPGROUPS
    wide = planner.width(direction, *wide)
    tile = planner.best_tile(planner.tiles(call.dtype.name, kind, all(wide)), works, call.device.multiprocessors)
    kernel = planner.implicit_gemm(direction, call.dtype.name, kind, tile, wide, call.device.capability)
    column_tiles = -(-works[0].columns // tile.columns)
    blocks = [-(-work.rows // tile.rows) * column_tiles for work in works]
    return _launch(kernel, call, parts, blocks, works[0].repeats, column_tiles=column_tiles, wide=int(result_is_wide))


def _direct(direction: str, call: Call, parts: list[Fields], wide: bool) -> Launch:
    """The launch of convolutions with narrow groups."""
    kernel = planner.direct(direction, call.dtype.name, wide)
    vector = int(dict(kernel.defines)["WIDE"])
    blocks = [-(-part["pixels"] * (part["outputs"] * part["groups"] // vector) // kernel.threads) for part in parts]
    return _launch(kernel, call, parts, blocks)


# What computes a result: of two operands, into a dense NHWC result, with a bias or a null pointer.
Steps = Callable[..., None]


def _convolution(direction: str, call: Call, parts: list[Fields], source: Any, filters: Any, result: Any) -> Launch:
    """The launch of convolutions, in tiles of a product or not, of a source with filters in the forward layout."""
    channels, outputs, groups = (parts[0][name] for name in ("channels", "outputs", "groups"))
    filters_apart = filters.shape[3]
    if not call.is_tiled:
        alone = channels == outputs == 1
        wide = alone and _is_wide(source, groups, *_steps(source)) and _is_wide(filters, filters_apart)
        return _direct(direction, call, parts, wide and _aligned(result))
    side = channels if direction == "backprop_input" else outputs  # whose channels lie side by side in the filters
    wides = _is_wide(source, channels, *_steps(source)), _is_wide(filters, side, filters_apart)
    works = [Work(part["pixels"], outputs, _terms(part), groups) for part in parts]
    return _product(direction, call, parts, works, wides, _is_wide(result, outputs))


def _terms(part: Fields) -> int:
    return part["taps_h"] * part["taps_w"] * part["channels"]


def _forward(p: ConvProblem, call: Call, images: Any, filters: Any, result: Any) -> Steps:
    return _convolution("forward", call, [_forward_fields(p, images)], images, filters, result).run


def _backprop_input(p: ConvProblem, call: Call, filters: Any, gradient: Any, result: Any) -> Steps:
    found, complete = polyphase(p)
    # The longest first, lest the launch end with them.
    parts = sorted((_phase_fields(p, part, gradient) for part in found), key=_terms, reverse=True)
    launches = [
        _convolution("backprop_input", call, parts[i : i + planner.PHASES], gradient, filters, result)
        for i in range(0, len(parts), planner.PHASES)
    ]

    def run(w: Any, dy: Any, dx: Any, bias: Any) -> None:
        if not complete:
            apply_epilogue(None, dx, bias, p.c, call.activation)
        for launch in launches:
            launch.run(dy, w, dx, bias)

    return run


def _backprop_filter(p: ConvProblem, call: Call, images: Any, gradient: Any, result: Any) -> Steps:
    fields = _forward_fields(p, images)
    size = planner.slice_pixels(p)
    slices = -(-fields["pixels"] // size)
    rows = p.kh * p.kw * fields["channels"]
    count = rows * p.f
    fields.update(slice_pixels=size, slice_stride=count)
    sums_dtype = accumulator(call.dtype)
    apart = slices > 1 or sums_dtype != call.dtype
    if call.is_tiled:
        wide = _is_wide(images, fields["channels"], *_steps(images)), _is_wide(gradient, fields["outputs"], p.f)
        work = Work(rows, fields["outputs"], size, p.groups * slices)
        runs = fields["outputs"] * sums_dtype.itemsize % planner.COPY == 0
        runs = runs and (apart or _aligned(result))
        launch = _product("backprop_filter", call, [fields], [work], wide, runs)
    else:
        kernel = planner.direct("backprop_filter", call.dtype.name, False)
        column_tiles = -(-p.f // planner.DIRECT_COLUMNS)
        launch = _launch(kernel, call, [fields], [column_tiles * rows], slices, column_tiles=column_tiles)
    total = _sum_slices(call, count, slices)

    def run(x: Any, dy: Any, dw: Any, bias: Any) -> None:
        sums = workspace((slices, count), sums_dtype) if apart else dw
        launch.run(x, dy, sums, *([NOTHING] if call.is_tiled else []))
        if apart:
            total.run(sums, dw, np.int64(count), np.int64(slices))

    return run


def _sum_slices(call: Call, count: int, slices: int) -> Launch:
    kernel = planner.sum_slices(call.dtype.name)
    return prepare_launch(kernel, call.device.number, (-(-count // kernel.threads), 1, 1))


MAKERS = {"forward": _forward, "backprop_input": _backprop_input, "backprop_filter": _backprop_filter}
