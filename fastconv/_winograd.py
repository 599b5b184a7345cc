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


# From how many terms on a tile's results err no more than TensorFlow's, whose error grows with the square root of their
# number; those in the padding do not count. Errors of larger tiles are due to cancellation in the transforms, 1.5, 2.3
# and 3.6 times that of a sum, and hardly grow, as channels are summed in short blocks. "fast" allows 2.5 times
# TensorFlow's error, and results of half precision are rounded a thousand times as roughly.
FEWEST_TERMS = {(1, 2): 126, (2, 1): 126, (1, 4): 220, (4, 1): 220, (2, 2): 126, (4, 2): 360, (2, 4): 360, (4, 4): 1008}
FEWEST_TERMS_FAST = {
    (1, 2): 126, (2, 1): 126, (1, 4): 126, (4, 1): 126, (2, 2): 126, (4, 2): 126, (2, 4): 126, (4, 4): 216
}  # fmt: skip
STRIDED = [(2, 2)]  # with stride 2 and 3x3 taps: 25 products for the 36 of 4 outputs

# From how many times as many terms as it takes on, channels of a block and its halves. Half as long sums err 5 to 15
# % less. With AVX2, blocks of 32 are 10 % faster than those of 16, in halves only 3 %, which take more registers.
BLOCKS = ((2.25, 32, 1), (1.2, 32, 2), (0, 16, 2))
ROUGH = 1.2  # as if there were so many times as many, where more error is allowed

# What transforms cost, in multiply-adds: for each cell of a tile and input or output channel, and for each cell and
# filter. Filters count once: no choice may depend on the number of images. Below GAIN they are not worth their error;
# where tiles are transformed for several pieces, or along one axis alone, memory takes a third of what is gained.
TILE_COST, FILTER_COST = 10, 2.5
GAIN, GAIN_OF_PIECES = 1.1, 1.55
FEWEST_CHANNELS, MOST_CHANNELS = 14, 1 << 14  # of all pieces together: a few tiles of more do not fit the caches
PIECE, MOST_TAPS = 3, 15  # taps along an axis: of a piece of a filter, and of one


def _pieces(total: int, size: int) -> int:
    return -(-total // size)


def _inside(size: int, out: int, stride: int, before: int, taps: int) -> int:
    """Taps inside the image along one axis, in all windows."""
    firsts = (_pieces(before - tap, stride) for tap in range(taps))
    ends = (_pieces(size + before - tap, stride) for tap in range(taps))
    return sum(max(0, min(out, end) - max(0, first)) for first, end in zip(firsts, ends, strict=True))


def _terms(problem: ConvProblem) -> float:
    """Of the mean window's, those inside the image."""
    p = problem
    rows = _inside(p.h, p.oh, p.stride_h, p.pad_top, p.kh)
    columns = _inside(p.w, p.ow, p.stride_w, p.pad_left, p.kw)
    return p.c * rows * columns / (p.oh * p.ow)


def _axis(outputs: int, stride: int, taps: int) -> tuple[int, int]:
    """Cells of a tile along an axis, and pieces of the filter; tiles of 1 output have filters of 1 tap."""
    return (1, 1) if outputs == 1 else ((outputs - 1) * stride + PIECE, _pieces(taps, PIECE))


def _cost(problem: ConvProblem, rows: int, columns: int) -> float:
    """Of one image, in multiply-adds."""
    p = problem
    tiles = _pieces(p.oh, rows) * _pieces(p.ow, columns)
    (high, pieces_high), (wide, pieces_wide) = _axis(rows, p.stride_h, p.kh), _axis(columns, p.stride_w, p.kw)
    c, cells = pieces_high * pieces_wide * p.c, high * wide
    return cells * (tiles * (c * p.f + TILE_COST * (c + p.f)) + FILTER_COST * c * p.f)


def _direct_cost(problem: ConvProblem) -> float:
    """Filters are packed, which costs as much as 2.5 pixels."""
    p = problem
    return p.kh * p.kw * p.c * p.f * (p.oh * p.ow + FILTER_COST)


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
    if max(p.kh, p.kw) == 1:
        return "the filter is 1x1"
    if max(p.kh, p.kw) > MOST_TAPS:
        return f"the filter is larger than {MOST_TAPS}x{MOST_TAPS}"
    if (p.dilation_h, p.dilation_w, p.groups) != (1, 1, 1):
        return "the filter is dilated or grouped"
    strided = (p.stride_h, p.stride_w) == (2, 2) and (p.kh, p.kw) == (PIECE, PIECE)
    if not strided and (p.stride_h, p.stride_w) != (1, 1):
        return "the strides are not 1, nor 2 with a filter of 3x3"
    if p.c * _pieces(p.kh, PIECE) * _pieces(p.kw, PIECE) > MOST_CHANNELS:
        return "there are too many channels for the caches"
    rough = precision == "fast" or dtype.itemsize == 2
    fewest = FEWEST_TERMS_FAST if rough else FEWEST_TERMS
    terms = _terms(p)
    shapes = (
        STRIDED if strided else [shape for shape in fewest if (shape[0] == 1, shape[1] == 1) == (p.kh == 1, p.kw == 1)]
    )
    allowed = [shape for shape in shapes if terms >= fewest[shape]]
    if not allowed or p.c < FEWEST_CHANNELS:
        return "there are too few channels to err no more than direct sums"
    best = min(allowed, key=lambda shape: _cost(p, *shape))
    gain = GAIN if (p.kh, p.kw) == (PIECE, PIECE) else GAIN_OF_PIECES
    if gain * _cost(p, *best) > _direct_cost(p):
        return "the transforms would cost more than they save"
    more = terms / FEWEST_TERMS[best]
    if rough:
        more = max(more, ROUGH)
    return Rung(*best, *next(sums for least, *sums in BLOCKS if more >= least))
