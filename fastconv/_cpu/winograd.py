"""Which tiles of Winograd's minimal filtering serve a problem, or its filters' gradient: within the error allowed, the
ones that cost least."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastconv._cpu import _core
from fastconv._cpu import cost_model as costs
from fastconv._cpu.decompose import cost_of_border_split
from fastconv._cpu.summation import tile_images
from fastconv._problem import Axis, ConvProblem
from fastconv._types import is_half


class WinogradTile(NamedTuple):
    """A tile of outputs and how its products are summed: ``fc_winograd`` in src/base/problem.h, field for field."""

    rows: int
    columns: int
    block: int
    halves: int


# The fewest terms from which on a tile's results err no more than TensorFlow's, whose error grows with the square root
# of the number of terms. Terms in the padding do not count. Tiles' errors come from cancellation in the transforms: 1.5
# times that of a sum for 2x2 outputs, 1.8 for 3 or 4 along one axis, 2.3 for these beside 2 along the other, and 3.6
# for these along both. They hardly grow with the number of terms, as channels are summed in short blocks.
FEWEST_TERMS = {
    (2, 2): 126, (4, 2): 360, (2, 4): 360, (3, 3): 1008, (4, 4): 1008,
    (1, 3): 220, (3, 1): 220, (1, 4): 220, (4, 1): 220,
}  # fmt: skip
# "fast" allows 2.5 times TensorFlow's error; results of half precision are rounded a thousand times as roughly.
FEWEST_TERMS_FAST = {shape: 216 if min(shape) > 2 else 126 for shape in FEWEST_TERMS}
STRIDED = [(2, 2)]  # the tiles with stride 2 and 3x3 taps: 25 products for the 36 of 4 outputs

# The same for the gradient of the filters, in pixels that are summed. There TensorFlow's error grows with their number,
# and that of tiles hardly: tiles do not serve the deep layers of one image. With stride 2 TensorFlow errs twice as
# much.
FEWEST_PIXELS = {
    (2, 2): 2400, (4, 2): 6000, (2, 4): 6000, (3, 3): 24000, (4, 4): 24000,
    (1, 3): 8000, (3, 1): 8000, (1, 4): 8000, (4, 1): 8000,
}  # fmt: skip
FEWEST_PIXELS_FAST = {shape: pixels // 6 for shape, pixels in FEWEST_PIXELS.items()}
FEWEST_PIXELS_STRIDED = 128
FEWEST_PIXELS_STRIDED_FAST = 32

# (times the fewest terms, channels of a block, its halves): the first entry with no more times than a sum has. Half as
# long sums err 5 to 15 % less. With AVX2, blocks of 32 channels are 10 % faster than those of 16, in halves only 3 %,
# as these take more registers.
BLOCKS = ((2.25, 32, 1), (1.2, 32, 2), (0, 16, 2))
ROUGH = 1.2  # times the fewest terms that a sum counts as, at least, where more error is allowed

SUB_KERNEL = 3  # taps of a sub-kernel along an axis; 4 with 3 outputs, 1 with 1


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _taps_inside(axis: Axis) -> list[int]:
    """For each tap along an axis, the number of windows in which it lies in the image."""
    return [len(axis.outputs_inside(tap)) for tap in range(axis.taps)]


def _terms(problem: ConvProblem) -> float:
    """The terms of a mean window that lie in the image."""
    rows, columns = _taps_inside(problem.axis_h), _taps_inside(problem.axis_w)
    return problem.c * sum(rows) * sum(columns) / (problem.oh * problem.ow)


def _axis(outputs: int, stride: int, taps: int) -> tuple[int, int]:
    """Cells of a tile along an axis, and sub-kernels of the filter: of 3 taps, of 4 for 3 outputs, of 1 for 1."""
    size = {1: 1, 3: 4}.get(outputs, SUB_KERNEL)
    return (outputs - 1) * stride + size, _ceil_div(taps, size)


def _cost(problem: ConvProblem, rows: int, columns: int) -> float:
    """The cost of one image, in multiply-adds."""
    p = problem
    tiles = _ceil_div(p.oh, rows) * _ceil_div(p.ow, columns)
    (high, subs_high), (wide, subs_wide) = _axis(rows, p.stride_h, p.kh), _axis(columns, p.stride_w, p.kw)
    depth = subs_high * subs_wide * p.c
    of_tile = depth * p.f + costs.WINOGRAD_TILE * (depth + p.f)
    return high * wide * (tiles * of_tile + costs.WINOGRAD_FILTER * depth * p.f)


def _direct_cost(problem: ConvProblem) -> float:
    """The cost of direct sums, whose filters are packed, or of the parts of a border split."""
    p = problem
    whole = p.kh * p.kw * (p.oh * p.ow + costs.PACKING)
    return p.c * p.f * min(whole, cost_of_border_split(p) or whole)


def _shapes(problem: ConvProblem) -> list[tuple[int, int]]:
    """The tiles that exist for a filter of this size."""
    p = problem
    if p.stride_h == 2:
        return STRIDED
    return [shape for shape in FEWEST_TERMS if (shape[0] == 1, shape[1] == 1) == (p.kh == 1, p.kw == 1)]


def _is_rough(dtype: np.dtype, precision: str) -> bool:
    """Whether more error is allowed."""
    return precision == "fast" or is_half(dtype)


def _never(problem: ConvProblem, dtype: np.dtype, precision: str) -> str | None:
    """Why there are no tiles, whatever is computed."""
    p = problem
    if precision == "strict":
        return "precision is 'strict'"
    if dtype.kind == "i" or dtype.itemsize == 8:
        return "the transforms are for sums in float32"
    if max(p.kh, p.kw) == 1:
        return "the filter is 1x1"
    if max(p.kh, p.kw) > _core.WINOGRAD_TAPS:
        return f"the filter has more than {_core.WINOGRAD_TAPS} taps along an axis"
    if (p.dilation_h, p.dilation_w, p.groups) != (1, 1, 1):
        return "the filter is dilated or grouped"
    strides = (p.stride_h, p.stride_w)
    if strides != (1, 1) and not ((p.kh, p.kw) == (3, 3) and strides == (2, 2)):
        return "the strides are not 1, nor 2 with a filter of 3x3"
    if p.c < costs.WINOGRAD_FEWEST_CHANNELS:
        return "there are too few channels to fill vectors"
    return None


def _cheapest(
    problem: ConvProblem,
    what: str,
    count: float,
    fewest: dict[tuple[int, int], int],
    cost: Callable[[ConvProblem, int, int], float],
    gain: float,
    direct: float,
) -> tuple[int, int] | str:
    """The tiles that cost least, of those that so many terms or pixels allow, or the reason why there are none.

    Direct sums must cost at least `gain` times as much.
    """
    allowed = [shape for shape in _shapes(problem) if count >= fewest[shape]]
    if not allowed:
        return f"there are too few {what} to err no more than direct sums"
    best = min(allowed, key=lambda shape: cost(problem, *shape))
    return best if gain * cost(problem, *best) <= direct else "the transforms would cost more than they save"


def winograd_tile(problem: ConvProblem, dtype: np.dtype, precision: str) -> WinogradTile | str:
    """The tiles to use, or the reason why there are none.

    >>> winograd_tile(ConvProblem.parse("n1h14w14c256_k3x3f256_s1x1_d1x1_p1,1,1,1_g1"), np.dtype(np.float32), "default")
    WinogradTile(rows=4, columns=4, block=32, halves=2)
    """
    p = problem
    reason = _never(p, dtype, precision)
    if reason is not None:
        return reason
    block = BLOCKS[0][1]
    sub_kernels = _ceil_div(p.kh, SUB_KERNEL) * _ceil_div(p.kw, SUB_KERNEL)
    if _ceil_div(p.c, block) * block * sub_kernels > costs.WINOGRAD_MOST_CHANNELS:
        return "there are too many channels for the caches"
    rough = _is_rough(dtype, precision)
    terms = _terms(p)
    fewest = FEWEST_TERMS_FAST if rough else FEWEST_TERMS
    gain = costs.WINOGRAD_GAIN if (p.kh, p.kw) == (3, 3) else costs.WINOGRAD_GAIN_OF_OTHERS
    best = _cheapest(p, "terms", terms, fewest, _cost, gain, _direct_cost(p))
    if isinstance(best, str):
        return best
    more = terms / FEWEST_TERMS[best]
    if rough:
        more = max(more, ROUGH)
    return WinogradTile(*best, *next(sums for least, *sums in BLOCKS if more >= least))


def _gradient_cost(problem: ConvProblem, rows: int, columns: int) -> float:
    """The cost of the gradient of the filters, in multiply-adds."""
    p = problem
    tiles = p.n * _ceil_div(p.oh, rows) * _ceil_div(p.ow, columns)
    (high, subs_high), (wide, subs_wide) = _axis(rows, p.stride_h, p.kh), _axis(columns, p.stride_w, p.kw)
    depth = subs_high * subs_wide * p.c
    ranges = _ceil_div(depth, _core.WINOGRAD_RANGE), _ceil_div(p.f, _core.WINOGRAD_RANGE)
    transforms = costs.WINOGRAD_GRADIENT_TILE * (depth * ranges[1] + p.f * ranges[0])
    return high * wide * (tiles * (depth * p.f + transforms) + costs.WINOGRAD_GRADIENT_BACK * depth * p.f)


def gradient_tile(problem: ConvProblem, dtype: np.dtype, precision: str) -> WinogradTile | str:
    """The tile for the gradient of the filters, which sums no channels, or why there is none.

    >>> gradient_tile(ConvProblem.parse("n1h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1"), np.dtype(np.float32), "default")
    WinogradTile(rows=2, columns=2, block=16, halves=1)
    """
    p = problem
    reason = _never(p, dtype, precision)
    if reason is not None:
        return reason
    rows, columns = _taps_inside(p.axis_h), _taps_inside(p.axis_w)
    if 0 in (*rows, *columns):
        return "some taps meet nothing but padding"
    rough = _is_rough(dtype, precision)
    if p.stride_h == 2:
        fewest = dict.fromkeys(STRIDED, FEWEST_PIXELS_STRIDED_FAST if rough else FEWEST_PIXELS_STRIDED)
    else:
        fewest = FEWEST_PIXELS_FAST if rough else FEWEST_PIXELS
    best = _cheapest(p, "pixels", p.n * p.oh * p.ow, fewest, _gradient_cost, costs.WINOGRAD_GAIN, p.multiply_adds)
    if isinstance(best, str):
        return best
    if tile_images(p, *best) < (p.n if is_half(dtype) else 1):  # sums of halves are not rounded in between
        return "the outlier check of all tiles would take too much memory"
    return WinogradTile(*best, block=16, halves=1)  # of channels, which are not summed
