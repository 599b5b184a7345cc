"""How convolutions of NumPy arrays are computed: the implementations of each direction, best first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastconv import _plan, _reference
from fastconv._cpu import _core, refusals
from fastconv._cpu.elementwise import finish
from fastconv._cpu.refusals import outer_product_cost
from fastconv._cpu.summation import PixelSum, image_sum, pixel_sum, summation, tile_images, tile_sum
from fastconv._cpu.winograd import Rung, gradient_rung, rung
from fastconv._epilogue import Extras
from fastconv._options import Options
from fastconv._parts import Part, each_group, phases, rectangles
from fastconv._plan import Choice, Implementation
from fastconv._problem import ConvProblem

# What runs a problem: (operand, operand, result, threads, extras), with 4-D arrays in the caller's layout. There are no
# extras in backprop-filter.
Run = Callable[[np.ndarray, np.ndarray, np.ndarray, int, Extras | None], object]


class Method(NamedTuple):
    """The configuration of a forward pass by one of the methods in C."""

    name: str
    one_row: bool = False
    rung: Rung | None = None

    def arguments(self, problem: ConvProblem, gradient: bool) -> tuple[Any, ...]:
        """What ``_core`` wants to know beside the problem, which is a phase of backprop-input with `gradient`."""
        # Each tap's channels are summed like those of a 1x1 filter.
        summed = problem._replace(kh=1, kw=1) if self.name == "tap_products" else problem
        return summation(summed, gradient), self.one_row, self.name, self.rung


def _unless(
    refuses: Callable[[ConvProblem, np.dtype, Options], str | None], configuration: Any
) -> Callable[[ConvProblem, np.dtype, Options], Any]:
    """The configuration, or the reason for refusing."""
    return lambda problem, dtype, options: refuses(problem, dtype, options) or configuration


def _always(configuration: Any) -> Callable[[ConvProblem, np.dtype, Options], Any]:
    return lambda problem, dtype, options: configuration


def _winograd(problem: ConvProblem, dtype: np.dtype, options: Options) -> Method | str:
    found = rung(problem, dtype, options.precision)
    return found if isinstance(found, str) else Method("winograd", rung=found)


def _bind_method(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: Method
) -> Run:
    return _core.Forward(problem, dtype.name, channels_first, *configuration.arguments(problem, False)).run


# The configuration of a forward pass in parts: what cuts a problem into them, and tells whether they are complete.
Cut = Callable[[ConvProblem], tuple[list[Part], bool]]


def _calls_of(parts: list[Part], dtype: np.dtype, options: Options, gradient: bool) -> tuple[list[Any], bool]:
    """The calls that compute these parts, each by the best implementation, and whether they are complete."""
    calls: list[Any] = []
    complete = True
    for part in parts:
        found = choose("forward", part.problem, dtype, options).configuration
        if isinstance(found, Method):
            calls.append((part, *found.arguments(part.problem, gradient)))
        else:
            inside, covered = found(part.problem)
            more, whole = _calls_of([inner.within(part) for inner in inside], dtype, options, gradient)
            calls += more
            complete = complete and covered and whole
    return calls, complete


def _bind_parts(gradient: bool) -> Callable[[ConvProblem, np.dtype, bool, Options, Cut], Run]:
    def bind(problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: Cut) -> Run:
        parts, complete = configuration(problem)
        calls, whole = _calls_of(parts, dtype, options._replace(implementation=None), gradient)
        return _core.Parts(problem, calls, complete and whole, gradient, dtype.name, channels_first).run

    return bind


class FilterSums(NamedTuple):
    """The configuration of a gradient of filters by a method in C: its name, and what cuts pixels into blocks."""

    name: str
    pixels: Callable[[ConvProblem], PixelSum] = pixel_sum


def _bind_filter(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: FilterSums
) -> Run:
    sums = summation(problem), configuration.pixels(problem)
    return _core.BackpropFilter(problem, *sums, configuration.name, None, dtype.name, channels_first).run


def _winograd_filter(problem: ConvProblem, dtype: np.dtype, options: Options) -> Rung | str:
    return gradient_rung(problem, dtype, options.precision)


def _bind_winograd_filter(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: Rung
) -> Run:
    """By tiles, of some images at a time."""
    images = tile_images(problem, configuration.rows, configuration.columns)
    runs = {
        count: _bind_tiles(problem._replace(n=count), configuration, dtype, channels_first, options)
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
    direct = _bind_filter(problem, dtype, channels_first, options, FilterSums("outer_products"))

    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, extras: Extras | None) -> None:
        unserved = tiles.run(x, dy, dw, threads, extras)
        if unserved == "all":
            direct(x, dy, dw, threads, extras)
        elif unserved is not None:
            others = np.empty_like(dw)
            direct(x, dy, others, threads, extras)
            np.copyto(dw, others, where=~np.isfinite(dw))

    return run


def _bind_pointwise_filter(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: None
) -> Run:
    """The images as one row of pixels, whose blocks need not end where an image does.

    Few output channels change places with the input's, for these to fill vectors: the products are the same.
    """
    pixels = problem.n * problem.h * problem.w
    row = problem._replace(n=1, h=1, w=pixels, oh=1, ow=pixels)
    exchanged = row._replace(c=row.f, f=row.c)
    exchange = row.groups == 1 and outer_product_cost(exchanged) < outer_product_cost(row)
    meant = exchanged if exchange else row
    whole = _core.BackpropFilter(meant, summation(meant), pixel_sum(row), "outer_products", None, dtype.name, False)

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


def _bind_reference(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: None
) -> Run:
    def run(x: np.ndarray, w: np.ndarray, y: np.ndarray, threads: int, extras: Extras | None) -> None:
        _images_last(y, channels_first)[...] = _reference.forward(problem, _images_last(x, channels_first), w)
        if extras is not None:
            finish(y, channels_first, extras)

    return run


def _bind_reference_input(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: None
) -> Run:
    def run(w: np.ndarray, dy: np.ndarray, dx: np.ndarray, threads: int, extras: Extras | None) -> None:
        gradient = _reference.backprop_input(problem, w, _images_last(dy, channels_first))
        _images_last(dx, channels_first)[...] = gradient
        if extras is not None:
            finish(dx, channels_first, extras)

    return run


def _bind_reference_filter(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: None
) -> Run:
    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, extras: Extras | None) -> None:
        dw[...] = _reference.backprop_filter(problem, _images_last(x, channels_first), _images_last(dy, channels_first))

    return run


# Best first. Configurations that need nothing but the problem are None.
IMPLEMENTATIONS = {
    "forward": (
        Implementation("image_filter", _unless(refusals.unless_image_filter, Method("image_filter")), _bind_method),
        Implementation("depthwise", _unless(refusals.unless_depthwise, Method("depthwise")), _bind_method),
        Implementation("narrow_groups", _unless(refusals.unless_narrow_groups, Method("narrow_groups")), _bind_method),
        Implementation(
            "pointwise", _unless(refusals.unless_pointwise, Method("implicit_gemm", one_row=True)), _bind_method
        ),
        Implementation("tap_products", _unless(refusals.unless_tap_products, Method("tap_products")), _bind_method),
        Implementation("winograd", _winograd, _bind_method),
        Implementation("rectangles", _unless(refusals.unless_rectangles, rectangles), _bind_parts(gradient=False)),
        Implementation("each_group", _unless(refusals.unless_groups_gain, each_group), _bind_parts(gradient=False)),
        Implementation("implicit_gemm", _always(Method("implicit_gemm")), _bind_method),
        Implementation("reference", _always(None), _bind_reference),
    ),
    "backprop_input": (
        Implementation("phases", _always(phases), _bind_parts(gradient=True)),
        Implementation("reference", _always(None), _bind_reference_input),
    ),
    "backprop_filter": (
        Implementation("depthwise", _unless(refusals.unless_depthwise, FilterSums("depthwise")), _bind_filter),
        Implementation(
            "image_filter", _unless(refusals.unless_image_gradient, FilterSums("image_filter", image_sum)), _bind_filter
        ),
        Implementation("pointwise", _unless(refusals.unless_pointwise, None), _bind_pointwise_filter),
        Implementation("winograd", _winograd_filter, _bind_winograd_filter),
        Implementation("outer_products", _always(FilterSums("outer_products")), _bind_filter),
        Implementation("reference", _always(None), _bind_reference_filter),
    ),
}


def choose(direction: str, problem: ConvProblem, dtype: np.dtype, options: Options) -> Choice:
    """The implementation for NumPy arrays."""
    return _plan.choose(IMPLEMENTATIONS, direction, problem, dtype, options)
