"""A convolution as several smaller ones, for fewer multiplications by zero.

**Phases**, of backprop-input. Cells of the input's gradient that lie ``stride`` apart meet the same taps, each at an
output pixel one further on. So they are a convolution with stride 1 of the output's gradient, with those taps alone, in
reverse order, and input and output channels exchanged: no zeros are inserted, and none multiplied.

**Rectangles**, of outputs whose windows have the same taps inside the image. Each is a convolution without padding.

**Groups**, each a dense convolution, where a method that only those have is faster.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

from fastconv._problem import ConvProblem


class Part(NamedTuple):
    """One of the convolutions: its own problem, and where in the arrays it takes place."""

    problem: ConvProblem
    x_row: int  # its first cell of the array that it reads
    x_column: int
    y_row: int  # its first cell of the one that it writes, and the steps to its next
    y_column: int
    y_step_h: int
    y_step_w: int
    tap_row: int  # its first tap, and the steps to its next
    tap_column: int
    tap_step_h: int
    tap_step_w: int
    group: int = 0  # where the problem is that of one group

    def within(self, other: Part) -> Part:
        """A part of another's problem as one of the whole."""
        return self._replace(
            x_row=other.x_row + self.x_row,
            x_column=other.x_column + self.x_column,
            y_row=other.y_row + self.y_row * other.y_step_h,
            y_column=other.y_column + self.y_column * other.y_step_w,
            y_step_h=self.y_step_h * other.y_step_h,
            y_step_w=self.y_step_w * other.y_step_w,
            tap_row=other.tap_row + self.tap_row * other.tap_step_h,
            tap_column=other.tap_column + self.tap_column * other.tap_step_w,
            tap_step_h=self.tap_step_h * other.tap_step_h,
            tap_step_w=self.tap_step_w * other.tap_step_w,
            group=other.group + self.group,
        )


class _PhaseAxis(NamedTuple):
    """A phase along one axis."""

    first: int
    cells: int
    taps: int
    tap: int
    tap_step: int
    dilation: int
    before: int
    after: int


def _phases_of_axis(size: int, taps: int, out: int, stride: int, dilation: int, before: int) -> list[_PhaseAxis]:
    common = math.gcd(stride, dilation)
    found: dict[int, list[int]] = {}
    for tap in range(taps):
        found.setdefault((tap * dilation - before) % stride, []).append(tap)
    phases = []
    for first, members in sorted(found.items()):
        if first >= size:
            continue
        cells = -(-(size - first) // stride)
        # Cell first + q * stride meets tap number t of the members at output q + nearest - t * dilation / common.
        nearest = (first + before - members[0] * dilation) // stride
        reach = (len(members) - 1) * (dilation // common)
        pad = reach - nearest
        phases.append(
            _PhaseAxis(
                first,
                cells,
                len(members),
                members[-1],
                -(stride // common),
                dilation // common,
                pad,
                cells + reach - out - pad,
            )
        )
    return phases


def phases(problem: ConvProblem) -> tuple[list[Part], bool]:
    """The phases that have taps, and whether they cover every cell of the input's gradient; other cells are zero.

    >>> found, complete = phases(ConvProblem.parse("n1h4w4c1_k1x1f1_s2x2_d1x1_p0,0,0,0_g1"))
    >>> len(found), complete
    (1, False)
    """
    p = problem
    rows = _phases_of_axis(p.h, p.kh, p.oh, p.stride_h, p.dilation_h, p.pad_top)
    columns = _phases_of_axis(p.w, p.kw, p.ow, p.stride_w, p.dilation_w, p.pad_left)
    found = [
        Part(
            ConvProblem(
                p.n, p.oh, p.ow, p.f, r.taps, c.taps, p.c, r.cells, c.cells, 1, 1, r.dilation, c.dilation,
                r.before, r.after, c.before, c.after, p.groups,
            ),
            0, 0, r.first, c.first, p.stride_h, p.stride_w, r.tap, c.tap, r.tap_step, c.tap_step,
        )
        for r in rows
        for c in columns
    ]  # fmt: skip
    complete = sum(r.cells for r in rows) == p.h and sum(c.cells for c in columns) == p.w
    return found, complete


# A rectangle costs whole tiles of so many pixels, and some more to have its filters packed and its tasks shared out. As
# measured, a gain below GAIN is lost again.
TILE_PIXELS, RECTANGLE_PIXELS, GAIN = 6, 8, 1.05
MOST_TAPS = 64  # along an axis that is cut


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


def _whole(size: int, taps: int, out: int, before: int, after: int) -> list[_Segment]:
    """An axis uncut."""
    return [_Segment(0, out, 0, taps, 0, size, before, after)]


def _segments(size: int, taps: int, out: int, stride: int, dilation: int, before: int) -> list[_Segment]:
    """An axis cut wherever a tap comes in or goes out."""
    ranges = []  # of the outputs that meet each tap inside
    for tap in range(taps):
        start = before - tap * dilation
        ranges.append((max(0, -(-start // stride)), min(out, (size - 1 + start) // stride + 1)))
    ends = sorted({end for low, high in ranges if low < high for end in (low, high)})
    segments = []
    for first, end in itertools.pairwise(ends):
        inside = [tap for tap, (low, high) in enumerate(ranges) if low <= first < high]
        if inside:
            tap, count = inside[0], len(inside)
            cells = (end - first - 1) * stride + (count - 1) * dilation + 1
            segments.append(
                _Segment(first, end - first, tap, count, first * stride - before + tap * dilation, cells, 0, 0)
            )
    return segments


_Cut = tuple[list[_Segment], list[_Segment]]


def _cost(cut: _Cut) -> int:
    """Of an image, in multiply-adds for a pair of channels."""
    return sum(
        (-(-r.outputs * c.outputs // TILE_PIXELS) * TILE_PIXELS + RECTANGLE_PIXELS) * r.taps * c.taps
        for r in cut[0]
        for c in cut[1]
    )


def _cut(problem: ConvProblem) -> _Cut:
    """The cuts along both axes, either of them or neither, that cost least for an image."""
    p = problem
    rows = [_whole(p.h, p.kh, p.oh, p.pad_top, p.pad_bottom)]
    columns = [_whole(p.w, p.kw, p.ow, p.pad_left, p.pad_right)]
    if p.kh <= MOST_TAPS:
        rows.append(_segments(p.h, p.kh, p.oh, p.stride_h, p.dilation_h, p.pad_top))
    if p.kw <= MOST_TAPS:
        columns.append(_segments(p.w, p.kw, p.ow, p.stride_w, p.dilation_w, p.pad_left))

    whole = rows[0], columns[0]
    return min(((r, c) for r in rows for c in columns), key=lambda cut: _cost(cut) * (1 if cut == whole else GAIN))


def cost_of_rectangles(problem: ConvProblem) -> float | None:
    """Of an image, in multiply-adds for a pair of channels; None where there is nothing worth cutting."""
    return GAIN * _cost(_cut(problem)) if worth_cutting(problem) else None


def worth_cutting(problem: ConvProblem) -> bool:
    """Whether rectangles save multiplications by padding.

    >>> worth_cutting(ConvProblem.parse("n1h33w33c256_k3x3f256_s1x1_d12x12_p12,12,12,12_g1"))
    True
    >>> worth_cutting(ConvProblem.parse("n1h56w56c64_k3x3f64_s2x2_d1x1_p0,1,0,1_g1"))
    False
    """
    p = problem
    if not any((p.pad_top, p.pad_bottom, p.pad_left, p.pad_right)):
        return False
    rows, columns = _whole(p.h, p.kh, p.oh, p.pad_top, p.pad_bottom), _whole(p.w, p.kw, p.ow, p.pad_left, p.pad_right)
    return _cut(p) != (rows, columns)


def rectangles(problem: ConvProblem) -> tuple[list[Part], bool]:
    """The rectangles that have taps, and whether they cover every output; others are zero.

    >>> found, complete = rectangles(ConvProblem.parse("n1h33w33c256_k3x3f256_s1x1_d12x12_p12,12,12,12_g1"))
    >>> len(found), complete
    (9, True)
    """
    p = problem
    rows, columns = _cut(problem)
    found = [
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
    return found, complete


def one_group(problem: ConvProblem) -> ConvProblem:
    """The problem of each group."""
    p = problem
    return p._replace(c=p.c // p.groups, f=p.f // p.groups, groups=1)


def each_group(problem: ConvProblem) -> tuple[list[Part], bool]:
    """The groups, which are complete."""
    one = one_group(problem)
    return [Part(one, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, group) for group in range(problem.groups)], True
