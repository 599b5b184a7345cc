"""A convolution as several that multiply fewer zeros, or that are each of a kind with a faster method.

**A border split**: rectangles of outputs whose windows have the same taps inside the image. Each is a convolution
without padding.

**Per group**: groups, each a dense convolution.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

from fastconv._cpu import cost_model as costs
from fastconv._parts import Decomposition, Part
from fastconv._problem import Axis, ConvProblem


class _Segment(NamedTuple):
    """Outputs along one axis that meet the same taps inside the image."""

    first: int
    outputs: int
    tap: int
    taps: int
    x: int  # the first cell that they meet
    cells: int
    before: int  # padding
    after: int


def _uncut(axis: Axis, after: int) -> list[_Segment]:
    """An axis with so many cells of padding after the image, as its only segment."""
    return [_Segment(0, axis.outputs, 0, axis.taps, 0, axis.size, axis.before, after)]


def _segments(axis: Axis) -> list[_Segment]:
    """An axis cut wherever a tap comes in or goes out."""
    met = [axis.outputs_inside(tap) for tap in range(axis.taps)]
    ends = sorted({end for outputs in met if outputs for end in (outputs.start, outputs.stop)})
    segments = []
    for first, end in itertools.pairwise(ends):
        inside = [tap for tap, outputs in enumerate(met) if first in outputs]
        if inside:
            tap, count = inside[0], len(inside)
            cells = (end - first - 1) * axis.stride + (count - 1) * axis.dilation + 1
            segments.append(_Segment(first, end - first, tap, count, axis.cell(first, tap), cells, 0, 0))
    return segments


_Cut = tuple[list[_Segment], list[_Segment]]


def _cost(cut: _Cut) -> int:
    """The cost of an image, in multiply-adds for a pair of channels."""
    tile = costs.BORDER_TILE_PIXELS
    return sum(
        (-(-r.outputs * c.outputs // tile) * tile + costs.BORDER_PART_PIXELS) * r.taps * c.taps
        for r in cut[0]
        for c in cut[1]
    )


@functools.lru_cache(maxsize=256)  # the cost model of Winograd's tiles asks for it, too
def _cut(problem: ConvProblem) -> _Cut | None:
    """The cuts along both axes, or one of them, that cost least for an image; None where cutting saves nothing."""
    p = problem
    if not any((p.pad_top, p.pad_bottom, p.pad_left, p.pad_right)):
        return None
    rows, columns = [_uncut(p.axis_h, p.pad_bottom)], [_uncut(p.axis_w, p.pad_right)]
    if p.kh <= costs.BORDER_TAPS:
        rows.append(_segments(p.axis_h))
    if p.kw <= costs.BORDER_TAPS:
        columns.append(_segments(p.axis_w))
    whole = rows[0], columns[0]
    cuts = ((r, c) for r in rows for c in columns)
    best = min(cuts, key=lambda cut: _cost(cut) * (1 if cut == whole else costs.BORDER_GAIN))
    return None if best == whole else best


def cost_of_border_split(problem: ConvProblem) -> float | None:
    """The cost of an image, in multiply-adds for a pair of channels; None where cutting saves nothing."""
    cut = _cut(problem)
    return None if cut is None else costs.BORDER_GAIN * _cost(cut)


def border_split(problem: ConvProblem) -> Decomposition | str:
    """The parts of a border split, or why there is none.

    >>> parts, complete = border_split(ConvProblem.parse("n1h33w33c256_k3x3f256_s1x1_d12x12_p12,12,12,12_g1"))
    >>> len(parts), complete
    (9, True)
    >>> border_split(ConvProblem.parse("n1h56w56c64_k3x3f64_s2x2_d1x1_p0,1,0,1_g1"))
    'few taps are outside the image'
    """
    p = problem
    cut = _cut(problem)
    if cut is None:
        return "few taps are outside the image"
    rows, columns = cut
    parts = [
        Part(
            ConvProblem(
                p.n, r.cells, c.cells, p.c, r.taps, c.taps, p.f, r.outputs, c.outputs, p.stride_h, p.stride_w,
                p.dilation_h, p.dilation_w, r.before, r.after, c.before, c.after, p.groups,
            ),
            r.x, c.x, r.first, c.first, 1, 1, r.tap, c.tap, 1, 1,
        )
        for r in rows
        for c in columns
    ]  # fmt: skip
    complete = sum(r.outputs for r in rows) == p.oh and sum(c.outputs for c in columns) == p.ow
    return Decomposition(parts, complete)


def one_group(problem: ConvProblem) -> ConvProblem:
    """The problem of each group."""
    p = problem
    return p._replace(c=p.c // p.groups, f=p.f // p.groups, groups=1)


def per_group(problem: ConvProblem) -> Decomposition:
    """The groups."""
    one = one_group(problem)
    return Decomposition([Part(one, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, group) for group in range(problem.groups)], True)
