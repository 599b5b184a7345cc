"""How convolutions of NumPy arrays are computed: the implementations of each direction, best first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastconv import _plan, _reference
from fastconv._cpu import refusals
from fastconv._cpu._convolution import BackpropFilter, Convolution
from fastconv._cpu.decompose import border_split, per_group
from fastconv._cpu.elementwise import apply_epilogue
from fastconv._cpu.summation import PixelSum, pixel_sum, spatial_sum, summation, tile_images, tile_sum
from fastconv._cpu.winograd import WinogradTile, gradient_tile, winograd_tile
from fastconv._epilogue import EpilogueArguments
from fastconv._options import Options
from fastconv._parts import Decomposition, polyphase, undivided
from fastconv._plan import Choice, Implementation
from fastconv._problem import ConvProblem, channels_last

# What runs a problem: (operand, operand, result, threads, epilogue), with 4-D arrays in the caller's layout. In
# backprop-filter the epilogue is always None.
Run = Callable[[np.ndarray, np.ndarray, np.ndarray, int, EpilogueArguments | None], object]


class Method(NamedTuple):
    """The configuration of a forward pass by one of the methods in C (src/conv/forward.c)."""

    name: str
    winograd_tile: WinogradTile | None = None

    def arguments(self, problem: ConvProblem, gradient: bool) -> tuple[Any, ...]:
        """What C wants to know beside the problem, which is a phase of backprop-input with `gradient`."""
        # kn2row sums each tap's channels like those of a 1x1 filter.
        summed = problem._replace(kh=1, kw=1) if self.name == "kn2row" else problem
        return summation(summed, gradient), self.name, self.winograd_tile


def _unless(
    refuses: Callable[[ConvProblem, np.dtype, Options], str | None], configuration: Any
) -> Callable[[ConvProblem, np.dtype, Options], Any]:
    """The configuration, or the reason for refusing."""
    return lambda problem, dtype, options: refuses(problem, dtype, options) or configuration


def _always(configuration: Any) -> Callable[[ConvProblem, np.dtype, Options], Any]:
    return lambda problem, dtype, options: configuration


def _winograd(problem: ConvProblem, dtype: np.dtype, options: Options) -> Method | str:
    tile = winograd_tile(problem, dtype, options.precision)
    return tile if isinstance(tile, str) else Method("winograd", tile)


def _polyphase(problem: ConvProblem, dtype: np.dtype, options: Options) -> Decomposition:
    return polyphase(problem)


def _border_split(problem: ConvProblem, dtype: np.dtype, options: Options) -> Decomposition | str:
    return border_split(problem)


def _per_group(problem: ConvProblem, dtype: np.dtype, options: Options) -> Decomposition | str:
    return refusals.unless_per_group(problem, dtype, options) or per_group(problem)


def _calls_of(
    decomposition: Decomposition, dtype: np.dtype, options: Options, gradient: bool
) -> tuple[list[tuple[Any, ...]], bool]:
    """The calls that compute these parts, each by the best implementation, and whether they are complete."""
    calls: list[Any] = []
    complete = decomposition.complete
    for part in decomposition.parts:
        configuration = choose("forward", part.problem, dtype, options).configuration
        if isinstance(configuration, Method):
            calls.append((part, *configuration.arguments(part.problem, gradient)))
        else:
            inner = configuration._replace(parts=[inside.within(part) for inside in configuration.parts])
            more, whole = _calls_of(inner, dtype, options, gradient)
            calls += more
            complete = complete and whole
    return calls, complete


def _bind_method(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: Method
) -> Run:
    (part,) = undivided(problem).parts
    calls = [(part, *configuration.arguments(problem, False))]
    return Convolution(problem, calls, True, False, dtype.name, channels_first).run


def _bind_parts(gradient: bool) -> Callable[[ConvProblem, np.dtype, bool, Options, Decomposition], Run]:
    def bind(
        problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: Decomposition
    ) -> Run:
        calls, complete = _calls_of(configuration, dtype, options._replace(implementation=None), gradient)
        return Convolution(problem, calls, complete, gradient, dtype.name, channels_first).run

    return bind


class FilterSums(NamedTuple):
    """The configuration of a gradient of filters by a method in C: its name, and what cuts pixels into blocks."""

    name: str
    pixels: Callable[[ConvProblem], PixelSum] = pixel_sum


def _bind_filter(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: FilterSums
) -> Run:
    sums = summation(problem), configuration.pixels(problem)
    return BackpropFilter(problem, *sums, configuration.name, None, dtype.name, channels_first).run


def _winograd_filter(problem: ConvProblem, dtype: np.dtype, options: Options) -> WinogradTile | str:
    return gradient_tile(problem, dtype, options.precision)


def _bind_winograd_filter(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: WinogradTile
) -> Run:
    """The gradient by tiles, of some images at a time."""
    images = tile_images(problem, configuration.rows, configuration.columns)
    runs = {
        count: _bind_tiles(problem._replace(n=count), configuration, dtype, channels_first, options)
        for count in (images, problem.n % images)
        if count
    }

    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, epilogue: EpilogueArguments | None) -> None:
        total = np.zeros(dw.shape)  # in float64, so that errors do not grow with the number of images
        for first in range(0, len(x), images):
            some = slice(first, first + images)
            runs[len(x[some])](x[some], dy[some], dw, threads, epilogue)
            total += dw
        with np.errstate(all="ignore"):
            dw[...] = total

    return runs[images] if images == problem.n else run


def _bind_tiles(
    problem: ConvProblem, tile: WinogradTile, dtype: np.dtype, channels_first: bool, options: Options
) -> Run:
    """What tiles do not serve is replaced by direct sums."""
    sums = summation(problem), tile_sum(problem, tile.rows, tile.columns)
    tiles = BackpropFilter(problem, *sums, "winograd", tile, dtype.name, channels_first)
    direct = _bind_filter(problem, dtype, channels_first, options, FilterSums("outer_products"))

    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, epilogue: EpilogueArguments | None) -> None:
        unserved = tiles.run(x, dy, dw, threads, epilogue)
        if unserved == "all":
            direct(x, dy, dw, threads, epilogue)
        elif unserved is not None:
            others = np.empty_like(dw)
            direct(x, dy, others, threads, epilogue)
            np.copyto(dw, others, where=~np.isfinite(dw))

    return run


class PixelRow(NamedTuple):
    """The configuration of a gradient of 1x1 filters: the images as one row of pixels.

    Where outer products cost less so, the input's channels change places with the output's: the products are the same.
    """

    row: ConvProblem
    exchange: bool


def _pointwise_filter(problem: ConvProblem, dtype: np.dtype, options: Options) -> PixelRow | str:
    reason = refusals.unless_pointwise(problem, dtype, options)
    if reason is not None:
        return reason
    pixels = problem.n * problem.h * problem.w
    row = problem._replace(n=1, h=1, w=pixels, oh=1, ow=pixels)
    return PixelRow(row, refusals.exchange_pays(row))


def _bind_pointwise_filter(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: PixelRow
) -> Run:
    """The gradient by blocks of pixels that need not end where an image does."""
    row, exchange = configuration
    matrix = row._replace(c=row.f, f=row.c) if exchange else row
    whole = BackpropFilter(matrix, summation(matrix), pixel_sum(row), "outer_products", None, dtype.name, False)

    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, epilogue: EpilogueArguments | None) -> None:
        x, dy = (
            channels_last(array, channels_first).reshape(1, 1, row.w, array.shape[1 if channels_first else 3])
            for array in (x, dy)
        )
        if exchange:
            transposed = np.empty((1, 1, dw.shape[3], dw.shape[2]), dw.dtype)
            whole.run(dy, x, transposed, threads, epilogue)
            dw[...] = transposed.transpose(0, 1, 3, 2)
        else:
            whole.run(x, dy, dw, threads, epilogue)

    return run


def _bind_reference(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: None
) -> Run:
    def run(x: np.ndarray, w: np.ndarray, y: np.ndarray, threads: int, epilogue: EpilogueArguments | None) -> None:
        channels_last(y, channels_first)[...] = _reference.forward(problem, channels_last(x, channels_first), w)
        if epilogue is not None:
            apply_epilogue(y, channels_first, epilogue)

    return run


def _bind_reference_input(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: None
) -> Run:
    def run(w: np.ndarray, dy: np.ndarray, dx: np.ndarray, threads: int, epilogue: EpilogueArguments | None) -> None:
        gradient = _reference.backprop_input(problem, w, channels_last(dy, channels_first))
        channels_last(dx, channels_first)[...] = gradient
        if epilogue is not None:
            apply_epilogue(dx, channels_first, epilogue)

    return run


def _bind_reference_filter(
    problem: ConvProblem, dtype: np.dtype, channels_first: bool, options: Options, configuration: None
) -> Run:
    def run(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, epilogue: EpilogueArguments | None) -> None:
        dw[...] = _reference.backprop_filter(
            problem, channels_last(x, channels_first), channels_last(dy, channels_first)
        )

    return run


# Best first. Configurations that need nothing but the problem are None.
IMPLEMENTATIONS = {
    "forward": (
        Implementation("spatial", _unless(refusals.unless_spatial, Method("spatial")), _bind_method),
        Implementation("depthwise", _unless(refusals.unless_depthwise, Method("depthwise")), _bind_method),
        Implementation("narrow_groups", _unless(refusals.unless_narrow_groups, Method("narrow_groups")), _bind_method),
        Implementation("pointwise", _unless(refusals.unless_pointwise, Method("pointwise")), _bind_method),
        Implementation("kn2row", _unless(refusals.unless_kn2row, Method("kn2row")), _bind_method),
        Implementation("winograd", _winograd, _bind_method),
        Implementation("border_split", _border_split, _bind_parts(gradient=False)),
        Implementation("per_group", _per_group, _bind_parts(gradient=False)),
        Implementation("implicit_gemm", _always(Method("implicit_gemm")), _bind_method),
        Implementation("reference", _always(None), _bind_reference),
    ),
    "backprop_input": (
        Implementation("polyphase", _polyphase, _bind_parts(gradient=True)),
        Implementation("reference", _always(None), _bind_reference_input),
    ),
    "backprop_filter": (
        Implementation("depthwise", _unless(refusals.unless_depthwise, FilterSums("depthwise")), _bind_filter),
        Implementation(
            "spatial", _unless(refusals.unless_spatial_gradient, FilterSums("spatial", spatial_sum)), _bind_filter
        ),
        Implementation("pointwise", _pointwise_filter, _bind_pointwise_filter),
        Implementation("winograd", _winograd_filter, _bind_winograd_filter),
        Implementation("outer_products", _always(FilterSums("outer_products")), _bind_filter),
        Implementation("reference", _always(None), _bind_reference_filter),
    ),
}


def choose(direction: str, problem: ConvProblem, dtype: np.dtype, options: Options) -> Choice:
    """The implementation for NumPy arrays."""
    return _plan.choose(IMPLEMENTATIONS, direction, problem, dtype, options)
