"""What is launched on a device for a convolution, with which arguments."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import cupy
import numpy as np

from fastconv._arguments import check_output
from fastconv._cuda import planner
from fastconv._cuda.planner import Kernel, Work
from fastconv._parts import Part, phases
from fastconv._problem import ConvProblem

FOLDER = os.path.dirname(os.path.abspath(__file__))

# The activations in the order of their enum in finish.cuh.
ACTIVATIONS = (None, "relu", "relu6", "leaky_relu", "hard_swish", "silu", "sigmoid", "tanh")

# struct Gather in gather.cuh, field for field.
_LONG = """
    pixels source_image source_row source_column result_image result_row result_column filter_row filter_column
    filter_channel filter_output filter_group filter_start result_start slice_pixels slice_stride
"""
_SHORT = """
    rows columns height width taps_h taps_w channels outputs groups step_h step_w reach_h reach_w start_h start_w
    column_tiles activation wide
"""
GATHER = np.dtype([(name, np.int64) for name in _LONG.split()] + [(name, np.int32) for name in _SHORT.split()])

_SHARED_BY_DEFAULT = 48 << 10  # bytes that a block may have without asking


class Device(NamedTuple):
    """What the planner asks about a device."""

    number: int
    capability: int  # 90, say
    multiprocessors: int


@functools.cache
def device(number: int) -> Device:
    """The device with this number."""
    found = cupy.cuda.Device(number)
    return Device(number, int(found.compute_capability), int(found.attributes["MultiProcessorCount"]))


@functools.cache
def _sources() -> str:
    """Tells versions of the sources apart: CuPy's cache of compiled kernels does not look at what a file includes."""
    import hashlib

    found = hashlib.sha256()
    for name in sorted(os.listdir(FOLDER)):
        if name.endswith((".cu", ".cuh")):
            with open(os.path.join(FOLDER, name), "rb") as file:
                found.update(file.read())
    return found.hexdigest()[:16]


@functools.cache
def compiled(kernel: Kernel, number: int) -> Any:
    """The kernel on a device, compiled when it is first asked for."""
    with cupy.cuda.Device(number), open(os.path.join(FOLDER, kernel.source)) as file:
        options = (*kernel.options, f"-I{FOLDER}", f"-DFC_SOURCES={_sources()}")
        function = cupy.RawModule(code=file.read(), options=options).get_function(kernel.entry)
        if kernel.shared > _SHARED_BY_DEFAULT:
            function.max_dynamic_shared_size_bytes = kernel.shared
    return function


class Launch(NamedTuple):
    """A kernel with all its arguments but the arrays."""

    function: Any
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    arguments: tuple[Any, ...]

    def run(self, *arrays: Any) -> None:
        """Launches it on the current stream."""
        self.function(self.grid, self.block, (*self.arguments, *arrays), shared_mem=self.shared)


NOTHING = np.uint64(0)  # a null pointer


def _aligned(array: Any, bytes_: int) -> bool:
    return bool(array.data.ptr % bytes_ == 0)


def _is_wide(array: Any, *elements: int) -> bool:
    """Whether 16 bytes can be copied at a time of an array whose channels lie so many elements apart, or in runs."""
    return _aligned(array, planner.COPY) and not any(count * array.itemsize % planner.COPY for count in elements)


def _steps(images: Any) -> tuple[int, int, int]:
    """Elements from image to image, row to row, and column to column."""
    n, h, w = (stride // images.itemsize for stride in images.strides[:3])
    return n, h, w


def packed(struct: np.dtype, **fields: Any) -> np.ndarray:
    """A kernel's structure with these fields; others are 0."""
    found = np.zeros((), struct)
    for name, value in fields.items():
        limit = np.iinfo(struct[name])
        if not limit.min <= value <= limit.max:
            raise ValueError(f"input: its {name.replace('_', ' ')}, {value}, is too large for a CUDA device")
        found[name] = value
    return found


def _forward_fields(p: ConvProblem, images: Any) -> dict[str, int]:
    """A convolution of these NHWC images into a dense output."""
    depth, outputs = p.c // p.groups, p.f // p.groups
    image, row, column = _steps(images)
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


def _phase_fields(p: ConvProblem, part: Part, gradient: Any) -> dict[str, int]:
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


def _product(
    direction: str, call: Call, fields: dict[str, int], work: Work, wide: tuple[bool, bool], result_is_wide: bool
) -> Launch:
    kind = planner.arithmetic(call.dtype.name, call.precision, call.device.capability)
    wide = planner.width(direction, *wide)
    tile = planner.best_tile(planner.tiles(call.dtype.name, kind, all(wide)), work, call.device.multiprocessors)
    kernel = planner.implicit_gemm(direction, call.dtype.name, kind, tile, wide, call.device.capability)
    row_tiles, column_tiles = -(-work.rows // tile.rows), -(-work.columns // tile.columns)
    gather = packed(
        GATHER,
        **fields,
        column_tiles=column_tiles,
        activation=ACTIVATIONS.index(call.activation),
        wide=result_is_wide,
    )
    grid = row_tiles * column_tiles, 1, work.repeats
    return Launch(compiled(kernel, call.device.number), grid, (kernel.threads, 1, 1), kernel.shared, (gather,))


# What computes a result: of two operands, into a dense NHWC result, with a bias or a null pointer.
Steps = Callable[..., None]


def _convolution(
    direction: str, call: Call, tiled: bool, fields: dict[str, int], source: Any, filters: Any, result: Any
) -> Launch:
    """The launch of a convolution, in tiles of a product or not, of a source with filters in the forward layout."""
    channels, outputs, filters_apart = fields["channels"], fields["outputs"], filters.shape[3]
    if not tiled:
        alone = channels == outputs == 1
        wide = alone and _is_wide(source, fields["groups"], *_steps(source)) and _is_wide(filters, filters_apart)
        return _direct(direction, call, fields, wide and _aligned(result, planner.COPY))
    side = channels if direction == "backprop_input" else outputs  # whose channels lie side by side in the filters
    wides = _is_wide(source, channels, *_steps(source)), _is_wide(filters, side, filters_apart)
    work = Work(fields["pixels"], outputs, fields["taps_h"] * fields["taps_w"] * channels, fields["groups"])
    return _product(direction, call, fields, work, wides, _is_wide(result, outputs))


def _forward(p: ConvProblem, call: Call, tiled: bool, images: Any, filters: Any, result: Any) -> Steps:
    return _convolution("forward", call, tiled, _forward_fields(p, images), images, filters, result).run


def _backprop_input(p: ConvProblem, call: Call, tiled: bool, filters: Any, gradient: Any, result: Any) -> Steps:
    found, complete = phases(p)
    launches = [
        _convolution("backprop_input", call, tiled, _phase_fields(p, part, gradient), gradient, filters, result)
        for part in found
    ]

    def run(w: Any, dy: Any, dx: Any, bias: Any) -> None:
        if not complete:
            finished(None, dx, bias, p.c, call.activation)
        for launch in launches:
            launch.run(dy, w, dx, bias)

    return run


def _backprop_filter(p: ConvProblem, call: Call, tiled: bool, images: Any, gradient: Any, result: Any) -> Steps:
    fields = _forward_fields(p, images)
    size = planner.slice_pixels(p)
    slices = -(-fields["pixels"] // size)
    rows = p.kh * p.kw * fields["channels"]
    count = rows * p.f
    fields.update(slice_pixels=size, slice_stride=count)
    sums_dtype = np.dtype(np.float32) if call.dtype.itemsize == 2 else call.dtype
    apart = slices > 1 or sums_dtype != call.dtype
    if tiled:
        wide = _is_wide(images, fields["channels"], *_steps(images)), _is_wide(gradient, fields["outputs"], p.f)
        work = Work(rows, fields["outputs"], size, p.groups * slices)
        runs = fields["outputs"] * sums_dtype.itemsize % planner.COPY == 0
        launch = _product(
            "backprop_filter", call, fields, work, wide, runs and (apart or _aligned(result, planner.COPY))
        )
    else:
        kernel = planner.direct("backprop_filter", call.dtype.name, False)
        columns = -(-p.f // planner.DIRECT_COLUMNS)
        gather = packed(GATHER, **fields, column_tiles=columns)
        function = compiled(kernel, call.device.number)
        launch = Launch(function, (columns * rows, 1, slices), (kernel.threads, 1, 1), kernel.shared, (gather,))
    total = _sum_slices(call, count, slices)

    def run(x: Any, dy: Any, dw: Any, bias: Any) -> None:
        sums = cupy.empty((slices, count), sums_dtype) if apart else dw
        launch.run(x, dy, sums, *([NOTHING] if tiled else []))
        if apart:
            total.run(sums, dw, np.int64(count), np.int64(slices))

    return run


def _sum_slices(call: Call, count: int, slices: int) -> Launch:
    kernel = planner.sum_slices(call.dtype.name)
    grid = -(-count // kernel.threads), 1, 1
    return Launch(compiled(kernel, call.device.number), grid, (kernel.threads, 1, 1), 0, ())


def _direct(direction: str, call: Call, fields: dict[str, int], wide: bool) -> Launch:
    kernel = planner.direct(direction, call.dtype.name, wide)
    gather = packed(GATHER, **fields, activation=ACTIVATIONS.index(call.activation))
    vector = dict(kernel.defines)["WIDE"]
    threads = fields["pixels"] * (fields["outputs"] * fields["groups"] // int(vector))
    grid = -(-threads // kernel.threads), 1, 1
    return Launch(compiled(kernel, call.device.number), grid, (kernel.threads, 1, 1), 0, (gather,))


def finished(source: Any, result: Any, bias: Any, channels: int, activation: str | None) -> None:
    """Writes the source, or zeros where it is None, with the bias (or a null pointer) and the activation."""
    if result.size:
        kernel = planner.finish(result.dtype.name)
        grid = -(-result.size // kernel.threads), 1, 1
        arguments = np.int64(result.size), np.int64(channels), np.int32(ACTIVATIONS.index(activation))
        launch = Launch(compiled(kernel, result.device.id), grid, (kernel.threads, 1, 1), 0, ())
        launch.run(NOTHING if source is None else source, result, bias, *arguments)


def activated(array: Any, activation: str, out: Any) -> Any:
    """The activation of every element, in `out` if that is given."""
    source = cupy.ascontiguousarray(array)
    with cupy.cuda.Device(array.device.id):
        if out is None:
            out = cupy.empty(array.shape, array.dtype)
        else:
            check_output(out, array.shape, array.dtype, () if out is array else (array,), on_device=True)
        finished(source, out, NOTHING, 1, activation)
    return out


class Implementation(NamedTuple):
    """One way to compute a direction on a device."""

    name: str
    refuses: Callable[[ConvProblem], str | None]


def _unless_depthwise(p: ConvProblem) -> str | None:
    return None if p.groups == p.c > 1 and planner.is_narrow(p) else "groups have more than one channel"


def _unless_narrow(p: ConvProblem) -> str | None:
    return None if planner.is_narrow(p) else "groups are none, or wide"


# Best first; both of the first two are direct.cu.
IMPLEMENTATIONS = (
    Implementation("depthwise", _unless_depthwise),
    Implementation("narrow_groups", _unless_narrow),
    Implementation("implicit_gemm", lambda problem: None),
)


def choose(problem: ConvProblem, wanted: str | None) -> tuple[Implementation, tuple[tuple[str, str], ...]]:
    """The first implementation that takes the problem, or the one that the caller wants, and why others refused."""
    refusals: list[tuple[str, str]] = []
    for entry in IMPLEMENTATIONS:
        reason = entry.refuses(problem)
        if reason is None and wanted not in (None, entry.name):
            reason = f"implementation {wanted!r} was asked for"
        if reason is None:
            return entry, tuple(refusals)
        if wanted == entry.name:
            raise ValueError(f"implementation: {wanted!r} refuses {problem}: {reason}")
        refusals.append((entry.name, reason))
    raise ValueError(f"implementation: {wanted!r} does not compute CuPy arrays")


MAKERS = {"forward": _forward, "backprop_input": _backprop_input, "backprop_filter": _backprop_filter}
