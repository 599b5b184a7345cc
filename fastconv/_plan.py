"""How to run a problem: the implementations of each direction, best first, and the plans made from them, cached."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastconv import _reference
from fastconv._arguments import check_output, geometry
from fastconv._cpu import _core, refusals
from fastconv._cpu.refusals import outer_product_cost
from fastconv._cpu.summation import PixelSum, Summation, image_sum, pixel_sum, summation, tile_images, tile_sum
from fastconv._cpu.winograd import Rung, gradient_rung, rung
from fastconv._epilogue import Extras, finish
from fastconv._options import Options, current
from fastconv._parts import Part, each_group, phases, rectangles
from fastconv._problem import ConvProblem, Padding, Pair, array_shape, conv_problem
from fastconv._threads import most_threads, threads_up_to

# What runs a problem: (operand, operand, result, threads, extras), with 4-D arrays in the caller's layout. The
# operands are, forward, the input and the filters; in backprop-input, the filters and the output's gradient; in
# backprop-filter, the input and the output's gradient. That one takes no extras.
Run = Callable[[np.ndarray, np.ndarray, np.ndarray, int, Extras | None], object]

# What cuts a problem into parts, and tells whether they are complete.
Cut = Callable[[ConvProblem], tuple[list[Part], bool]]


class Implementation(NamedTuple):
    """One way to compute one direction."""

    name: str
    refuses: Callable[[ConvProblem, np.dtype, Options], str | None]
    bind: Callable[[ConvProblem, np.dtype, bool, Options], Run]


# Those that compute a forward pass in parts.
_CUTS: dict[str, Cut] = {"rectangles": rectangles, "each_group": each_group}


class _Call(NamedTuple):
    """How a forward pass is computed, as _core wants it."""

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
        return _core.Forward(problem, dtype.name, channels_first, *_call(name, problem, dtype, options, False)).run

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
        return _core.Parts(problem, calls, complete and whole, gradient, dtype.name, channels_first).run

    return bind


def _bind_filter(
    lanes: str, pixels: Callable[[ConvProblem], PixelSum] = pixel_sum
) -> Callable[[ConvProblem, np.dtype, bool, Options], Run]:
    def bind(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
        sums = summation(problem), pixels(problem)
        return _core.BackpropFilter(problem, *sums, lanes, None, dtype.name, channels_first).run

    return bind


def _bind_winograd_filter(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
    """By tiles, of some images at a time."""
    found = gradient_rung(problem, dtype, options.precision)
    assert isinstance(found, Rung)
    images = tile_images(problem, found.rows, found.columns)
    runs = {
        count: _bind_tiles(problem._replace(n=count), found, dtype, channels_first, options)
        for count in (images, problem.n % images)
        if count
    }

    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, extras: Extras | None) -> None:
        total = np.zeros(dw.shape)  # in float64, so that errors do not grow with the number of images
        for first in range(0, len(x), images):
            some = slice(first, first + images)
            runs[len(x[some])](x[some], dy[some], dw, threads, extras)
            total += dw
        with np.errstate(all="ignore"):
            dw[...] = total

    return runs[images] if images == problem.n else run


def _bind_tiles(problem: ConvProblem, found: Rung, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
    """What tiles do not serve is replaced by direct sums."""
    sums = summation(problem), tile_sum(problem, found.rows, found.columns)
    tiles = _core.BackpropFilter(problem, *sums, "winograd", found, dtype.name, channels_first)
    direct = _bind_filter("channels")(problem, dtype, channels_first, options)

    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, extras: Extras | None) -> None:
        unserved = tiles.run(x, dy, dw, threads, extras)
        if unserved == "all":
            direct(x, dy, dw, threads, extras)
        elif unserved is not None:
            others = np.empty_like(dw)
            direct(x, dy, others, threads, extras)
            np.copyto(dw, others, where=~np.isfinite(dw))

    return run


def _bind_pointwise_filter(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options) -> Run:
    """The images as one row of pixels, whose blocks need not end where an image does.

    Few output channels change places with the input's, for these to fill vectors: the products are the same.
    """
    pixels = problem.n * problem.h * problem.w
    row = problem._replace(n=1, h=1, w=pixels, oh=1, ow=pixels)
    exchanged = row._replace(c=row.f, f=row.c)
    exchange = row.groups == 1 and outer_product_cost(exchanged) < outer_product_cost(row)
    meant = exchanged if exchange else row
    whole = _core.BackpropFilter(meant, summation(meant), pixel_sum(row), "channels", None, dtype.name, False)

    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, extras: Extras | None) -> None:
        x, dy = (
            _images_last(array, channels_first).reshape(1, 1, pixels, array.shape[1 if channels_first else 3])
            for array in (x, dy)
        )
        if exchange:
            transposed = np.empty((1, 1, dw.shape[3], dw.shape[2]), dw.dtype)
            whole.run(dy, x, transposed, threads, extras)
            dw[...] = transposed.transpose(0, 1, 3, 2)
        else:
            whole.run(x, dy, dw, threads, extras)

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
        Implementation("image_filter", refusals.unless_image_filter, _bind_forward("image_filter")),
        Implementation("depthwise", refusals.unless_depthwise, _bind_forward("depthwise")),
        Implementation("narrow_groups", refusals.unless_narrow_groups, _bind_forward("narrow_groups")),
        Implementation("pointwise", refusals.unless_pointwise, _bind_forward("pointwise")),
        Implementation("tap_products", refusals.unless_tap_products, _bind_forward("tap_products")),
        Implementation("winograd", refusals.unless_winograd, _bind_forward("winograd")),
        Implementation("rectangles", refusals.unless_rectangles, _bind_parts(rectangles)),
        Implementation("each_group", refusals.unless_groups_gain, _bind_parts(each_group)),
        Implementation("implicit_gemm", refusals.never, _bind_forward("implicit_gemm")),
        Implementation("reference", refusals.never, _bind_reference),
    ),
    "backprop_input": (
        Implementation("phases", refusals.never, _bind_parts(phases, gradient=True)),
        Implementation("reference", refusals.never, _bind_reference_input),
    ),
    "backprop_filter": (
        Implementation("depthwise", refusals.unless_depthwise, _bind_filter("depthwise")),
        Implementation("image_filter", refusals.unless_image_gradient, _bind_filter("pixels", image_sum)),
        Implementation("pointwise", refusals.unless_pointwise, _bind_pointwise_filter),
        Implementation("winograd", refusals.unless_winograd_gradient, _bind_winograd_filter),
        Implementation("outer_products", refusals.never, _bind_filter("channels")),
        Implementation("reference", refusals.never, _bind_reference_filter),
    ),
}


_ON_DEVICES = ("warpgroup",)  # that there are for CuPy arrays alone


def check_implementation(name: object) -> str:
    """The name of an implementation, checked."""
    names = [*dict.fromkeys(entry.name for entries in IMPLEMENTATIONS.values() for entry in entries), *_ON_DEVICES]
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


def _of_columns(run: Run, direction: str, channels_first: bool) -> Run:
    """What runs a problem of rows, given images and filters of columns, which would be up to 100 times as slow."""
    image, filters = ((0, 1, 3, 2) if channels_first else (0, 2, 1, 3)), (1, 0, 2, 3)
    axes = {
        "forward": (image, filters, image),
        "backprop_input": (filters, image, image),
        "backprop_filter": (image, image, filters),
    }[direction]

    def run_rows(a: np.ndarray, b: np.ndarray, result: np.ndarray, threads: int, extras: Extras | None) -> None:
        a, b, result = (array.transpose(moved) for array, moved in zip((a, b, result), axes))
        run(a, b, result, threads, extras)

    return run_rows


class Plan(_core.Launch):
    """One problem in one direction, dtype and layout, ready to run."""

    __slots__ = ("channels_first", "direction", "implementation", "problem", "refusals", "sums")

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
        self.channels_first = channels_first
        self.sums: Run | None = None  # None where there is nothing to sum
        if not (problem.output_is_empty or problem.input_is_empty or problem.filter_is_empty):
            options = current.get()
            meant = problem.as_row() if problem.is_column else problem
            self.implementation, self.refusals = choose(direction, meant, dtype, options)
            self.sums = self.implementation.bind(meant, dtype, channels_first, options)
            if problem.is_column:
                self.sums = _of_columns(self.sums, direction, channels_first)
        worth = most_threads(problem.multiply_adds)
        usual = len(result_shape) == 4 and not VERBOSE
        super().__init__(result_shape, dtype, self.sums if usual else None, worth, threads_up_to)

    def check(self, out: Any, inputs: tuple[Any, ...]) -> None:
        """Raises unless the result may be written to `out`."""
        check_output(out, self.result_shape, self.dtype, inputs)

    def run_otherwise(self, a: np.ndarray, b: np.ndarray, result: np.ndarray, extras: Extras | None) -> None:
        """A call that is not the common case."""
        if self.sums is None:
            result.fill(0)
            if extras is not None:
                finish(result, self.channels_first, extras)
        elif result.ndim == 4:
            self._run(a, b, result, extras)
        else:
            self._run_batches(a, b, result, extras)

    def channels(self) -> int:
        """Of the result."""
        return self.result_shape[-3 if self.channels_first else -1]

    def _run(self, a: np.ndarray, b: np.ndarray, result: np.ndarray, extras: Extras | None) -> None:
        assert self.sums is not None
        threads = threads_up_to(self.most_threads)
        start = time.perf_counter()
        self.sums(a, b, result, threads, extras)
        if VERBOSE:
            tell(self, f"{_core.instruction_set()} {threads} threads", 1e3 * (time.perf_counter() - start))

    def _run_batches(self, x: np.ndarray, w: np.ndarray, y: np.ndarray, extras: Extras | None) -> None:
        """Several batch dimensions as one; one after the other where that would take a copy of the input."""
        steps = zip(x.strides[:-4], x.strides[1:-3], x.shape[1:-3])
        if x.ndim == 4 or all(outer == inner * size for outer, inner, size in steps):
            self._run(x.reshape(-1, *x.shape[-3:]), w, y.reshape(-1, *y.shape[-3:]), extras)
        else:
            for images, results in zip(x, y):
                self._run_batches(images, w, results, extras)


def tell(plan: Any, where: str, milliseconds: float) -> None:
    """Tells whoever watches about a call of a plan, for arrays of any kind, and why other implementations refused."""
    layout = "NCHW" if plan.channels_first else "NHWC"
    print(
        f"fastconv: {plan.problem} {plan.direction} {plan.dtype.name} {layout} {plan.implementation.name}"
        f" {where} {milliseconds:.3f} ms",
        file=sys.stderr,
    )
    if VERBOSE > 1:
        for name, reason in plan.refusals:
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
    operands: tuple[np.ndarray | tuple[int, ...], ...],
    strides: Any,
    padding: Any,
    data_format: Any,
    dilations: Any,
) -> Plan:
    """The plan for a call with these arguments, in the caller's spelling; equal calls get the same plan.

    `operands` are arrays of one dtype, or shapes: of the input and the filters and, in a gradient, of the output's
    gradient.
    """
    options = current.get()
    spelled = strides, padding, data_format, dilations
    key = _core.call_key(direction, operands, spelled, options)
    hashes = True
    try:
        found = _plans.get(key)
    except TypeError:  # arrays, and lists within tuples, do not hash; what they mean does
        found, hashes = None, False
    if found is not None:
        return found
    dtype = next(operand.dtype for operand in operands if isinstance(operand, np.ndarray))
    shapes = tuple([operand.shape if isinstance(operand, np.ndarray) else operand for operand in operands])
    # Once more: an array may have changed its shape while the caller's objects were hashed.
    key = _core.call_key(direction, operands, spelled, options)
    meant = geometry(*spelled)
    what = (direction, shapes, dtype, options.precision, options.implementation, meant)
    found = _plans.get(what)
    if found is None:
        found = _make(direction, shapes, dtype, *meant)
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
    _plans[what] = found
    if hashes:
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
    problem, result = problem_of(direction, shapes, strides, padding, dilations, channels_first)
    return Plan(direction, problem, result, dtype, channels_first)


def problem_of(
    direction: str,
    shapes: tuple[tuple[int, ...], ...],
    strides: Pair,
    padding: Padding,
    dilations: Pair,
    channels_first: bool,
) -> tuple[ConvProblem, tuple[int, ...]]:
    """The problem of a call with operands of these shapes, and the shape of its result."""
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
    return problem, result
