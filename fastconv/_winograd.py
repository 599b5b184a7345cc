"""Which tiles of Winograd's minimal filtering serve a problem: within the error allowed, the ones that cost least."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastconv._problem import ConvProblem


class Rung(NamedTuple):
    """A tile of outputs and how its products are summed: ``fc_winograd`` in src/problem.h, field for field."""

    rows: int
    columns: int
    block: int
    halves: int


# From how many channels on a tile's results err no more than TensorFlow's, whose error grows with the square root of
# the number of terms: padding counts as fewer channels. Those of larger tiles are due to cancellation in the
# transforms, 1.5, 2.3 and 3.6 times that of a sum, and hardly grow, as channels are summed in short blocks. "fast"
# allows 2.5 times TensorFlow's error, and results of half precision are rounded a thousand times as roughly.
FEWEST_CHANNELS = {(2, 2): 14, (4, 2): 40, (2, 4): 40, (4, 4): 112}
FEWEST_CHANNELS_FAST = {(2, 2): 14, (4, 2): 14, (2, 4): 14, (4, 4): 24}
STRIDED = [(2, 2)]  # with stride 2: 25 products for the 36 of 4 outputs

# From how many times as many channels as it takes on, channels of a block and its halves. Half as long sums err 5 to 15
# % less. With AVX2, blocks of 32 are 10 % faster than those of 16, in halves only 3 %, which take more registers.
BLOCKS = ((2.25, 32, 1), (1.2, 32, 2), (0, 16, 2))
ROUGH = 1.2  # as if there were so many times as many, where more error is allowed

# What transforms cost, in multiply-adds: for each cell of a tile and input or output channel, and for each cell and
# filter. Filters count once: no choice may depend on the number of images. Below GAIN they are not worth their error.
TILE_COST, FILTER_COST = 5, 2.5
GAIN = 1.1
MOST_CHANNELS = 1 << 14  # one tile of more does not fit the caches
TAPS = 3


def _pieces(total: int, size: int) -> int:
    return -(-total // size)


def _inside(size: int, out: int, stride: int, before: int) -> int:
    """Taps inside the image along one axis, in all windows."""
    firsts = (_pieces(before - tap, stride) for tap in range(TAPS))
    ends = (_pieces(size + before - tap, stride) for tap in range(TAPS))
    return sum(max(0, min(out, end) - max(0, first)) for first, end in zip(firsts, ends, strict=True))


def _channels_of_windows(problem: ConvProblem) -> float:
    """Input channels, as many fewer as padding leaves fewer terms in the mean window."""
    p = problem
    inside = _inside(p.h, p.oh, p.stride_h, p.pad_top) * _inside(p.w, p.ow, p.stride_w, p.pad_left)
    return p.c * inside / (TAPS * TAPS * p.oh * p.ow)


def _cost(problem: ConvProblem, rows: int, columns: int) -> float:
    """Of one image, in multiply-adds."""
    p = problem
    tiles = _pieces(p.oh, rows) * _pieces(p.ow, columns)
    pairs, cells = p.c * p.f, ((rows - 1) * p.stride_h + TAPS) * ((columns - 1) * p.stride_w + TAPS)
    return cells * (tiles * (pairs + TILE_COST * (p.c + p.f)) + FILTER_COST * pairs)


def _direct_cost(problem: ConvProblem) -> float:
    """Filters are packed, which costs as much as 2.5 pixels."""
    return TAPS * TAPS * problem.c * problem.f * (problem.oh * problem.ow + FILTER_COST)


def rung(problem: ConvProblem, dtype: np.dtype, precision: str) -> Rung | str:
    """The tiles to use, or the reason why there are none.

    >>> rung(ConvProblem.parse("n1h14w14c256_k3x3f256_s1x1_d1x1_p1,1,1,1_g1"), np.dtype(np.float32), "default")
    Rung(rows=4, columns=4, block=32, halves=2)
    """
    p = problem
    if precision == "strict":
        return "precision is 'strict'"
    if dtype.kind == "i" or dtype.itemsize == 8:
        return "the transforms are for sums in float32"
    if (p.kh, p.kw) != (TAPS, TAPS):
        return "the filter is not 3x3"
    if (p.dilation_h, p.dilation_w, p.groups) != (1, 1, 1):
        return "the filter is dilated or grouped"
    if (p.stride_h, p.stride_w) not in ((1, 1), (2, 2)):
        return "the strides are not both 1, or both 2"
    if p.c > MOST_CHANNELS:
        return "there are too many channels for the caches"
    rough = precision == "fast" or dtype.itemsize == 2
    fewest = FEWEST_CHANNELS_FAST if rough else FEWEST_CHANNELS
    present = _channels_of_windows(p)
    shapes = fewest if p.stride_h == 1 else STRIDED
    allowed = [shape for shape in shapes if present >= fewest[shape]]
    if not allowed:
        return "there are too few channels to err no more than direct sums"
    best = min(allowed, key=lambda shape: _cost(p, *shape))
    if GAIN * _cost(p, *best) > _direct_cost(p):
        return "the transforms would cost more than they save"
    more = present / FEWEST_CHANNELS[best]
    if rough:
        more = max(more, ROUGH)
    return Rung(*best, *next(sums for least, *sums in BLOCKS if more >= least))
