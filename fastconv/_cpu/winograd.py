"""Which tiles of Winograd's minimal filtering serve a problem, or its filters' gradient: within the error allowed, the
ones that cost least."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastconv._cpu import _core
from fastconv._cpu.summation import tile_images
from fastconv._parts import cost_of_rectangles
from fastconv._problem import ConvProblem


class Rung(NamedTuple):
    """A tile of outputs and how its products are summed: ``fc_winograd`` in src/problem.h, field for field."""

    rows: int
    columns: int
    block: int
    halves: int


# From how many terms on a tile's results err no more than TensorFlow's, whose error grows with the square root of their
# number; those in the padding do not count. Tiles' errors are due to cancellation in the transforms: 1.5 times that of
# a sum for 2x2 outputs, 1.8 for 3 or 4 along one axis, 2.3 beside 2 along the other, and 3.6 along both. They hardly
# grow, as channels are summed in short blocks. "fast" allows 2.5 times TensorFlow's error, and results of half
# precision are rounded a thousand times as roughly.
FEWEST_TERMS = {
    (2, 2): 126, (4, 2): 360, (2, 4): 360, (3, 3): 1008, (4, 4): 1008,
    (1, 3): 220, (3, 1): 220, (1, 4): 220, (4, 1): 220,
}  # fmt: skip
FEWEST_TERMS_FAST = {shape: 216 if min(shape) > 2 else 126 for shape in FEWEST_TERMS}
STRIDED = [(2, 2)]  # with stride 2 and 3x3 taps: 25 products for the 36 of 4 outputs

# The same for the gradient of the filters, in pixels that are summed. There TensorFlow's error grows with their number,
# and that of tiles hardly: they do not serve the deep layers of one image. With stride 2 TensorFlow errs twice as much.
FEWEST_PIXELS = {
    (2, 2): 2400, (4, 2): 6000, (2, 4): 6000, (3, 3): 24000, (4, 4): 24000,
    (1, 3): 8000, (3, 1): 8000, (1, 4): 8000, (4, 1): 8000,
}  # fmt: skip
FEWEST_PIXELS_FAST = {shape: pixels // 6 for shape, pixels in FEWEST_PIXELS.items()}
FEWEST_PIXELS_STRIDED, FEWEST_PIXELS_STRIDED_FAST = 128, 32

# From how many times as many terms as it takes on, channels of a block and its halves. Half as long sums err 5 to 15
# % less. With AVX2, blocks of 32 are 10 % faster than those of 16, in halves only 3 %, which take more registers.
BLOCKS = ((2.25, 32, 1), (1.2, 32, 2), (0, 16, 2))
ROUGH = 1.2  # as if there were so many times as many, where more error is allowed

# What transforms cost, in multiply-adds: for each cell of a tile and input or output channel, and for each cell and
# filter. Filters count once: no choice may depend on the number of images. Below GAIN they are not worth their error;
# of other filters than 3x3, tiles are more memory for each product, which takes a third of what is gained.
TILE_COST, FILTER_COST = 10, 2.5
GAIN, GAIN_OF_OTHERS = 1.1, 1.55
FEWEST_CHANNELS = 14  # fewer fill vectors badly
MOST_CHANNELS = 1 << 12  # of all pieces together, in whole blocks: a few tiles of more take 16 MB
PIECE = 3  # taps of a piece along an axis; 4 with 3 outputs

# Of the gradient: what transforms of tiles cost there, for all terms or columns that share them, and what the way back
# from the cells costs for each cell, term and column.
GRADIENT_TILE_COST, BACK_COST = 8, 6


def _pieces(total: int, size: int) -> int:
    return -(-total // size)


def _inside(size: int, out: int, stride: int, before: int, taps: int) -> list[int]:
    """For each tap along one axis, the windows in which it is inside the image."""
    firsts = (_pieces(before - tap, stride) for tap in range(taps))
    ends = (_pieces(size + before - tap, stride) for tap in range(taps))
    return [max(0, min(out, end) - max(0, first)) for first, end in zip(firsts, ends, strict=True)]


def _taps_inside(problem: ConvProblem) -> tuple[list[int], list[int]]:
    p = problem
    rows = _inside(p.h, p.oh, p.stride_h, p.pad_top, p.kh)
    return rows, _inside(p.w, p.ow, p.stride_w, p.pad_left, p.kw)


def _terms(problem: ConvProblem) -> float:
    """Of the mean window's, those inside the image."""
    rows, columns = _taps_inside(problem)
    return problem.c * sum(rows) * sum(columns) / (problem.oh * problem.ow)


def _axis(outputs: int, stride: int, taps: int) -> tuple[int, int]:
    """Cells of a tile along an axis, and pieces of the filter: of 3 taps, of 4 for 3 outputs, of 1 for 1."""
    piece = {1: 1, 3: 4}.get(outputs, PIECE)
    return (outputs - 1) * stride + piece, _pieces(taps, piece)


def _cost(problem: ConvProblem, rows: int, columns: int) -> float:
    """Of one image, in multiply-adds."""
    p = problem
    tiles = _pieces(p.oh, rows) * _pieces(p.ow, columns)
    (high, pieces_high), (wide, pieces_wide) = _axis(rows, p.stride_h, p.kh), _axis(columns, p.stride_w, p.kw)
    depth = pieces_high * pieces_wide * p.c
    return high * wide * (tiles * (depth * p.f + TILE_COST * (depth + p.f)) + FILTER_COST * depth * p.f)


def _direct_cost(problem: ConvProblem) -> float:
    """Of direct sums, whose filters are packed, which costs as much as 2.5 pixels; or of rectangles without padding."""
    p = problem
    whole = p.kh * p.kw * (p.oh * p.ow + FILTER_COST)
    return p.c * p.f * min(whole, cost_of_rectangles(p) or whole)


def _shapes(problem: ConvProblem) -> list[tuple[int, int]]:
    """The tiles that exist for a filter of this size."""
    p = problem
    if p.stride_h == 2:
        return STRIDED
    return [shape for shape in FEWEST_TERMS if (shape[0] == 1, shape[1] == 1) == (p.kh == 1, p.kw == 1)]


def _is_rough(dtype: np.dtype, precision: str) -> bool:
    """Whether more error is allowed."""
    return precision == "fast" or dtype.itemsize == 2


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
    if p.c < FEWEST_CHANNELS:
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
    """Of the tiles that so many terms or pixels allow, the ones that cost least, if direct sums cost more by `gain`."""
    allowed = [shape for shape in _shapes(problem) if count >= fewest[shape]]
    if not allowed:
        return f"there are too few {what} to err no more than direct sums"
    best = min(allowed, key=lambda shape: cost(problem, *shape))
    return best if gain * cost(problem, *best) <= direct else "the transforms would cost more than they save"


def rung(problem: ConvProblem, dtype: np.dtype, precision: str) -> Rung | str:
    """The tiles to use, or the reason why there are none.

    >>> rung(ConvProblem.parse("n1h14w14c256_k3x3f256_s1x1_d1x1_p1,1,1,1_g1"), np.dtype(np.float32), "default")
    Rung(rows=4, columns=4, block=32, halves=2)
    """
    p = problem
    reason = _never(p, dtype, precision)
    if reason is not None:
        return reason
    block = BLOCKS[0][1]
    if _pieces(p.c, block) * block * _pieces(p.kh, PIECE) * _pieces(p.kw, PIECE) > MOST_CHANNELS:
        return "there are too many channels for the caches"
    rough = _is_rough(dtype, precision)
    terms = _terms(p)
    fewest = FEWEST_TERMS_FAST if rough else FEWEST_TERMS
    gain = GAIN if (p.kh, p.kw) == (3, 3) else GAIN_OF_OTHERS
    best = _cheapest(p, "terms", terms, fewest, _cost, gain, _direct_cost(p))
    if isinstance(best, str):
        return best
    more = terms / FEWEST_TERMS[best]
    if rough:
        more = max(more, ROUGH)
    return Rung(*best, *next(sums for least, *sums in BLOCKS if more >= least))


def _gradient_cost(problem: ConvProblem, rows: int, columns: int) -> float:
    """Of the gradient of the filters, in multiply-adds."""
    p = problem
    tiles = p.n * _pieces(p.oh, rows) * _pieces(p.ow, columns)
    (high, pieces_high), (wide, pieces_wide) = _axis(rows, p.stride_h, p.kh), _axis(columns, p.stride_w, p.kw)
    depth = pieces_high * pieces_wide * p.c
    ranges = _pieces(depth, _core.WINOGRAD_RANGE), _pieces(p.f, _core.WINOGRAD_RANGE)
    transforms = GRADIENT_TILE_COST * (depth * ranges[1] + p.f * ranges[0])
    return high * wide * (tiles * (depth * p.f + transforms) + BACK_COST * depth * p.f)


def gradient_rung(problem: ConvProblem, dtype: np.dtype, precision: str) -> Rung | str:
    """The same for the gradient of the filters, which sums no channels.

    >>> gradient_rung(ConvProblem.parse("n1h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1"), np.dtype(np.float32), "default")
    Rung(rows=2, columns=2, block=16, halves=1)
    """
    p = problem
    reason = _never(p, dtype, precision)
    if reason is not None:
        return reason
    rows, columns = _taps_inside(p)
    if 0 in (*rows, *columns):
        return "some taps meet nothing but padding"
    rough = _is_rough(dtype, precision)
    if p.stride_h == 2:
        fewest = dict.fromkeys(STRIDED, FEWEST_PIXELS_STRIDED_FAST if rough else FEWEST_PIXELS_STRIDED)
    else:
        fewest = FEWEST_PIXELS_FAST if rough else FEWEST_PIXELS
    best = _cheapest(p, "pixels", p.n * p.oh * p.ow, fewest, _gradient_cost, GAIN, p.multiply_adds)
    if isinstance(best, str):
        return best
    if tile_images(p, *best) < (p.n if dtype.itemsize == 2 else 1):  # sums of halves are not rounded in between
        return "what tells outliers in all tiles would take too much memory"
    return Rung(*best, block=16, halves=1)  # of channels, which are not summed
