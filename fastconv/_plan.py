"""How to run a problem: the implementations of each direction, best first, and the plans made from them, cached."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastconv import _cpu, _reference
from fastconv._arguments import check_output, geometry
from fastconv._epilogue import Extras, finish
from fastconv._options import Options, current
from fastconv._parts import Part, each_group, one_group, phases, rectangles, worth_cutting
from fastconv._problem import ConvProblem, Padding, Pair, array_shape, conv_problem
from fastconv._summation import Summation, pixel_sum, summation
from fastconv._threads import threads_for
from fastconv._winograd import Rung, rung

# More output channels than this fill vectors by themselves; longer rows and larger banks of filters than these do not
# stay in the first and second cache beside the image.
IMAGE_FILTER_CHANNELS, IMAGE_FILTER_ROW, IMAGE_FILTER_TERMS = 15, 128, 1 << 15
# With more input channels, which are taken apart, as many output channels, and terms of a row, which are not split.
IMAGE_FILTER_DEPTH, IMAGE_FILTER_CHANNELS_DEEP, IMAGE_FILTER_ROW_DEEP = 4, 7, 48

# Every input channel is repeated for each of its filters; longer rows are not summed in one piece, and rows further
# apart than this need too much memory where they are staged.
DEPTHWISE_MULTIPLIER, DEPTHWISE_ROW, DEPTHWISE_REACH = 16, 128, 256

# Outputs of a group, of which several fill a vector; each vector is made of as few input channels. Longer rows of terms
# are not summed in one piece, and more elements in the rows that a window reaches do not stay in the caches.
NARROW_GROUPS, NARROW_ROW, NARROW_REACH = (2, 4), 128, 1 << 16

# Channels of a group, below which a call of its own costs what Winograd saves.
EACH_GROUP = 20

# More output channels than this fill vectors well enough; fewer input channels for each of them than this do not pay
# for adding up the taps; more taps and channels than this do not stay in the caches.
TAP_PRODUCTS_CHANNELS, TAP_PRODUCTS_DEPTH, TAP_PRODUCTS_MOST = 7, 4, 1024

# What runs a problem: (operand, operand, result, threads, extras) -> None, with 4-D arrays in the caller's layout. The
# operands are, forward, the input and the filters; in backprop-input, the filters and the output's gradient; in
# backprop-filter, the input and the output's gradient. That one takes no extras.
Run = Callable[[np.ndarray, np.ndarray, np.ndarray, int, Extras | None], None]

# What cuts a problem into parts, and tells whether they are complete.
Cut = Callable[[ConvProblem], tuple[list[Part], bool]]


class Implementation(NamedTuple):
    """One way to compute one direction."""

    name: str
    refuses: Callable[[ConvProblem, np.dtype, Options], str | None]
    bind: Callable[[ConvProblem, np.dtype, bool, Options], Run]


def _never(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    return None


def _unless_pointwise(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if (problem.kh, problem.kw) != (1, 1):
        return "the filter is larger than 1x1"
    if (problem.stride_h, problem.stride_w) != (1, 1):
        return "the stride is not 1"
    if any((problem.pad_top, problem.pad_bottom, problem.pad_left, problem.pad_right)):
        return "the input is padded"
    return None


def _unless_image_filter(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.c > IMAGE_FILTER_DEPTH or problem.groups > 1:
        return "the input has many channels, or groups of them"
    if problem.c > 1 and (problem.stride_h > 1 or problem.dilation_h > 1):
        return "the taps of several channels are strided or dilated"
    if problem.f > (IMAGE_FILTER_CHANNELS if problem.c == 1 else IMAGE_FILTER_CHANNELS_DEEP):
        return "there are enough output channels to fill a vector"
    if problem.kw == 1 or problem.stride_w > 1 or problem.dilation_w > 1:
        return "the taps along the row are single, strided or dilated"
    row = IMAGE_FILTER_ROW if problem.c == 1 else IMAGE_FILTER_ROW_DEEP
    if problem.kw * problem.c > row or problem.kh * problem.kw * problem.c * problem.f > IMAGE_FILTER_TERMS:
        return "the filters are too large for the caches"
    if dtype.itemsize == 2:
        return "half precision is converted in the store"
    return None


def _unless_tap_products(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.f > min(TAP_PRODUCTS_CHANNELS, problem.c // TAP_PRODUCTS_DEPTH) or problem.groups > 1:
        return "there are enough output channels for vectors, or too few input channels to sum"
    if problem.kh * problem.kw == 1:
        return "the filter is 1x1"
    if problem.kh * problem.kw * problem.f > TAP_PRODUCTS_MOST:
        return "the filters are too large for the caches"
    if (problem.stride_h, problem.stride_w, problem.dilation_h, problem.dilation_w) != (1, 1, 1, 1):
        return "the filter is strided or dilated"
    if dtype.itemsize == 2:
        return "half precision is converted in the store"
    return None


def _unless_depthwise(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.groups != problem.c or problem.c == 1:
        return "the channels are summed, or there is only one"
    if problem.f // problem.c > DEPTHWISE_MULTIPLIER:
        return "there are many filters for each channel"
    if problem.kw > DEPTHWISE_ROW or (problem.kh - 1) * problem.dilation_h >= DEPTHWISE_REACH:
        return "the window is too large for the caches"
    return None


def _unless_narrow_groups(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    depth = problem.c // problem.groups
    if problem.groups == 1 or depth == 1:
        return "there are no groups, or they have single channels"
    outputs = problem.f // problem.groups
    if outputs not in NARROW_GROUPS or depth > outputs:
        return "a vector does not hold the outputs of whole groups, or takes many channels"
    if dtype.itemsize == 8:
        return "channels are repeated in vectors of 4-byte elements"
    if problem.dilation_w > 1:
        return "the taps along the row are dilated"
    reach = (problem.kh - 1) * problem.dilation_h + 1
    if problem.kw * depth > NARROW_ROW or reach * problem.w * depth > NARROW_REACH:
        return "the window is too large for the caches"
    if problem.kw == 1:
        return "a filter row has one tap"
    return None


def _unless_winograd(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    found = rung(problem, dtype, options.precision)
    return found if isinstance(found, str) else None


def _unless_rectangles(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if not worth_cutting(problem):
        return "few taps are outside the image"
    return None


def _unless_groups_gain(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.groups == 1:
        return "there are no groups"
    one = one_group(problem)
    if min(one.c, one.f) < EACH_GROUP:
        return "the groups are too narrow for calls of their own"
    found = rung(one, dtype, options.precision)
    return f"no group is one for Winograd: {found}" if isinstance(found, str) else None


# Those that compute a forward pass in parts.
_CUTS: dict[str, Cut] = {"rectangles": rectangles, "each_group": each_group}


class _Call(NamedTuple):
    """How a forward pass is computed, as _cpu wants it."""

    sum: Summation
    one_row: bool = False
    lanes: str = "channels"
    rung: Rung | None = None


_CALLS: dict[str, Callable[[ConvProblem, bool], _Call]] = {
    "image_filter": lambda problem, gradient: _Call(summation(problem, gradient), lanes="pixels"),
    "pointwise": lambda problem, gradient: _Call(summation(problem, gradient), one_row=True),
    "depthwise": lambda problem, gradient: _Call(summation(problem, gradient), lanes="depthwise"),
    "narrow_groups": lambda problem, gradient: _Call(summation(problem, gradient), lanes="groups"),
    # Each tap's channels are summed like those of a 1x1 filter.
    "tap_products": lambda problem, gradient: _Call(summation(problem._replace(kh=1, kw=1), gradient), lanes="taps"),
    "winograd": lambda problem, gradient: _Call(summation(problem, gradient), lanes="winograd"),
    "implicit_gemm": lambda problem, gradient: _Call(summation(problem, gradient)),
}


def _call(name: str, problem: ConvProblem, dtype: np.dtype, options: Options, gradient: bool) -> _Call:
    call = _CALLS[name](problem, gradient)
    if call.lanes == "winograd":
        found = rung(problem, dtype, options.precision)
        assert isinstance(found, Rung)
        call = call._replace(rung=found)
    return call


def _bind_forward(name: str) -> Callable[[ConvProblem, np.dtype, bool, Options], Run]:
    def bind(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
        return _cpu.Forward(problem, dtype.name, channels_first, *_call(name, problem, dtype, options, False)).run

    return bind


def _calls_of(parts: list[Part], dtype: np.dtype, options: Options, gradient: bool) -> tuple[list[Any], bool]:
    """The calls that compute these parts, each by the best implementation, and whether they are complete."""
    calls: list[Any] = []
    complete = True
    for part in parts:
        name = choose("forward", part.problem, dtype, options)[0].name
        if name in _CUTS:
            found, covered = _CUTS[name](part.problem)
            more, whole = _calls_of([inner.within(part) for inner in found], dtype, options, gradient)
            calls += more
            complete = complete and covered and whole
        else:
            calls.append((part, *_call(name, part.problem, dtype, options, gradient)))
    return calls, complete


def _bind_parts(cut: Cut, gradient: bool = False) -> Callable[[ConvProblem, np.dtype, bool, Options], Run]:
    def bind(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
        parts, complete = cut(problem)
        calls, whole = _calls_of(parts, dtype, options._replace(implementation=None), gradient)
        return _cpu.Parts(problem, calls, complete and whole, gradient, dtype.name, channels_first).run

    return bind


def _bind_filter(depthwise: bool) -> Callable[[ConvProblem, np.dtype, bool, Options], Run]:
    def bind(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
        sums = summation(problem), pixel_sum(problem)
        return _cpu.BackpropFilter(problem, *sums, depthwise, dtype.name, channels_first).run

    return bind


def _bind_pointwise_filter(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
    """The images as one row of pixels, whose blocks need not end where an image does."""
    pixels = problem.n * problem.h * problem.w
    row = problem._replace(n=1, h=1, w=pixels, oh=1, ow=pixels)
    whole = _cpu.BackpropFilter(row, summation(row), pixel_sum(row), False, dtype.name, False)

    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, extras: Extras | None) -> None:
        x, dy = _images_last(x, channels_first), _images_last(dy, channels_first)
        whole.run(x.reshape(1, 1, pixels, -1), dy.reshape(1, 1, pixels, -1), dw, threads, extras)

    return run


def _images_last(array: np.ndarray, channels_first: bool) -> np.ndarray:
    """The array seen as NHWC."""
    return array.transpose(0, 2, 3, 1) if channels_first else array


def _bind_reference(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
    def run(x: np.ndarray, w: np.ndarray, y: np.ndarray, threads: int, extras: Extras | None) -> None:
        _images_last(y, channels_first)[...] = _reference.forward(problem, _images_last(x, channels_first), w)
        if extras is not None:
            finish(y, channels_first, extras)

    return run


def _bind_reference_input(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
    def run(w: np.ndarray, dy: np.ndarray, dx: np.ndarray, threads: int, extras: Extras | None) -> None:
        gradient = _reference.backprop_input(problem, w, _images_last(dy, channels_first))
        _images_last(dx, channels_first)[...] = gradient
        if extras is not None:
            finish(dx, channels_first, extras)

    return run


def _bind_reference_filter(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, extras: Extras | None) -> None:
        dw[...] = _reference.backprop_filter(problem, _images_last(x, channels_first), _images_last(dy, channels_first))

    return run


# Best first.
IMPLEMENTATIONS = {
    "forward": (
        Implementation("image_filter", _unless_image_filter, _bind_forward("image_filter")),
        Implementation("depthwise", _unless_depthwise, _bind_forward("depthwise")),
        Implementation("narrow_groups", _unless_narrow_groups, _bind_forward("narrow_groups")),
        Implementation("pointwise", _unless_pointwise, _bind_forward("pointwise")),
        Implementation("tap_products", _unless_tap_products, _bind_forward("tap_products")),
        Implementation("winograd", _unless_winograd, _bind_forward("winograd")),
        Implementation("rectangles", _unless_rectangles, _bind_parts(rectangles)),
        Implementation("each_group", _unless_groups_gain, _bind_parts(each_group)),
        Implementation("implicit_gemm", _never, _bind_forward("implicit_gemm")),
        Implementation("reference", _never, _bind_reference),
    ),
    "backprop_input": (
        Implementation("phases", _never, _bind_parts(phases, gradient=True)),
        Implementation("reference", _never, _bind_reference_input),
    ),
    "backprop_filter": (
        Implementation("depthwise", _unless_depthwise, _bind_filter(depthwise=True)),
        Implementation("pointwise", _unless_pointwise, _bind_pointwise_filter),
        Implementation("outer_products", _never, _bind_filter(depthwise=False)),
        Implementation("reference", _never, _bind_reference_filter),
    ),
}


def check_implementation(name: object) -> str:
    """The name of an implementation, checked."""
    names = dict.fromkeys(entry.name for entries in IMPLEMENTATIONS.values() for entry in entries)
    if name not in names:
        raise ValueError(f"implementation: {name!r} is not one of {', '.join(map(repr, names))}")
    return str(name)


def choose(
    direction: str, problem: ConvProblem, dtype: np.dtype, options: Options
) -> tuple[Implementation, tuple[tuple[str, str], ...]]:
    """The first implementation that takes the problem, and the reasons of those that refused."""
    refusals: list[tuple[str, str]] = []
    for entry in IMPLEMENTATIONS[direction]:
        reason = entry.refuses(problem, dtype, options)
        if reason is None and options.implementation not in (None, entry.name):
            reason = f"implementation {options.implementation!r} was asked for"
        if reason is None:
            return entry, tuple(refusals)
        if entry.name == options.implementation:
            raise ValueError(f"implementation: {entry.name!r} refuses {problem}: {reason}")
        refusals.append((entry.name, reason))
    raise ValueError(f"implementation: {options.implementation!r} does not compute {direction}")


class Plan:
    """One problem in one direction, dtype and layout, ready to run."""

    __slots__ = (
        "channels_first",
        "direction",
        "dtype",
        "implementation",
        "problem",
        "refusals",
        "result_shape",
        "run",
        "work",
    )

    def __init__(
        self,
        direction: str,
        problem: ConvProblem,
        result_shape: tuple[int, ...],
        dtype: np.dtype,
        channels_first: bool,
    ) -> None:
        self.direction = direction
        self.problem = problem
        self.dtype = dtype
        self.channels_first = channels_first
        self.result_shape = result_shape
        self.work = problem.multiply_adds
        self.run: Run | None = None  # None where there is nothing to sum
        if not (problem.output_is_empty or problem.input_is_empty or problem.filter_is_empty):
            options = current.get()
            self.implementation, self.refusals = choose(direction, problem, dtype, options)
            self.run = self.implementation.bind(problem, dtype, channels_first, options)

    def __call__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        out: np.ndarray | None,
        inputs: tuple[Any, ...] = (),
        extras: Extras | None = None,
    ) -> np.ndarray:
        """The result, in `out` if that is given; `inputs` are the caller's own, which `out` must not overlap."""
        shape = self.result_shape
        if out is None:
            out = np.empty(shape, self.dtype)
        else:
            check_output(out, shape, self.dtype, (a, b, *inputs))
        if self.run is None:
            out.fill(0)
            if extras is not None:
                finish(out, self.channels_first, extras)
        elif len(shape) == 4:
            self._run(a, b, out, extras)
        else:
            self._run_batches(a, b, out, extras)
        return out

    def channels(self) -> int:
        """Of the result."""
        return self.result_shape[-3 if self.channels_first else -1]

    def _run(self, a: np.ndarray, b: np.ndarray, result: np.ndarray, extras: Extras | None) -> None:
        assert self.run is not None
        if VERBOSE:
            self._run_and_tell(a, b, result, extras)
        else:
            self.run(a, b, result, threads_for(self.work), extras)

    def _run_batches(self, x: np.ndarray, w: np.ndarray, y: np.ndarray, extras: Extras | None) -> None:
        """Several batch dimensions as one; one after the other where that would take a copy of the input."""
        steps = zip(x.strides[:-4], x.strides[1:-3], x.shape[1:-3])
        if x.ndim == 4 or all(outer == inner * size for outer, inner, size in steps):
            self._run(x.reshape(-1, *x.shape[-3:]), w, y.reshape(-1, *y.shape[-3:]), extras)
        else:
            for images, results in zip(x, y):
                self._run_batches(images, w, results, extras)

    def _run_and_tell(self, a: np.ndarray, b: np.ndarray, result: np.ndarray, extras: Extras | None) -> None:
        assert self.run is not None
        threads = threads_for(self.work)
        start = time.perf_counter()
        self.run(a, b, result, threads, extras)
        milliseconds = 1e3 * (time.perf_counter() - start)
        layout = "NCHW" if self.channels_first else "NHWC"
        print(
            f"fastconv: {self.problem} {self.direction} {self.dtype.name} {layout} {self.implementation.name}"
            f" {_cpu.instruction_set()} {threads} threads {milliseconds:.3f} ms",
            file=sys.stderr,
        )
        if VERBOSE > 1:
            for name, reason in self.refusals:
                print(f"fastconv:   not {name}: {reason}", file=sys.stderr)


def _verbosity() -> int:
    text = os.environ.get("FASTCONV_VERBOSE", "") or "0"
    if text not in ("0", "1", "2"):
        raise ImportError(f"FASTCONV_VERBOSE={text!r} is not 0, 1 or 2")
    return int(text)


VERBOSE = _verbosity()
if current.get().implementation is not None:
    try:
        check_implementation(current.get().implementation)
    except ValueError as error:
        raise ImportError(f"FASTCONV_IMPLEMENTATION: {error}") from None

_MOST_PLANS = 1024
_plans: dict[tuple[Any, ...], Plan] = {}


def plan(
    direction: str,
    shapes: tuple[tuple[int, ...], ...],
    dtype: np.dtype,
    strides: Any,
    padding: Any,
    data_format: Any,
    dilations: Any,
) -> Plan:
    """The plan for a call with these arguments, in the caller's spelling; equal calls get the same plan.

    `shapes` are those of the input and the filters and, of a gradient, of the output's gradient.
    """
    options = current.get()
    # Lists do not hash; the tuples that take their place mean the same.
    if type(strides) is list:
        strides = tuple(strides)
    if type(padding) is list:
        padding = tuple([tuple(pair) if type(pair) is list else pair for pair in padding])
    if type(dilations) is list:
        dilations = tuple(dilations)
    what = (direction, shapes, dtype, options.precision, options.implementation)
    key: tuple[Any, ...] = (what, strides, padding, data_format, dilations)
    try:
        found = _plans.get(key)
    except TypeError:  # arrays, and lists within tuples, do not hash; what they mean does
        found, key = None, ()
    if found is not None:
        return found
    meant = geometry(strides, padding, data_format, dilations)
    found = _plans.get((what, meant))
    if found is None:
        found = _make(direction, shapes, dtype, *meant)
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
    _plans[what, meant] = found
    if key:
        _plans[key] = found
    return found


def _make(
    direction: str,
    shapes: tuple[tuple[int, ...], ...],
    dtype: np.dtype,
    strides: Pair,
    padding: Padding,
    dilations: Pair,
    channels_first: bool,
) -> Plan:
    input_shape, filter_shape = shapes[:2]
    gradient = direction != "forward"
    problem = conv_problem(input_shape, filter_shape, strides, padding, dilations, channels_first, gradient)
    output_shape = array_shape(problem, input_shape, channels_first)
    if gradient and shapes[2] != output_shape:
        raise ValueError(
            f"out_backprop: its shape, {shapes[2]}, does not match the computed one, {output_shape}"
            f" (input shape {input_shape}, filter shape {filter_shape})"
        )
    result = {"forward": output_shape, "backprop_input": input_shape, "backprop_filter": filter_shape}[direction]
    return Plan(direction, problem, result, dtype, channels_first)
