"""A convolution as several smaller ones; and the input's gradient as convolutions, for fewer multiplications by zero.

**Polyphase decomposition** of backprop-input. Cells of the input's gradient that lie ``stride`` apart meet the same
taps, each at an output pixel one further on. So they are a convolution with stride 1 of the output's gradient, with
those taps alone, in reverse order, and input and output channels exchanged: no zeros are inserted, and none multiplied.
"""

from __future__ import annotations

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


class Decomposition(NamedTuple):
    """The parts of a convolution that have taps, and whether they cover every cell; other cells are zero."""

    parts: list[Part]
    complete: bool


def undivided(problem: ConvProblem) -> Decomposition:
    """The problem as its only part."""
    return Decomposition([Part(problem, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1)], True)


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
    taps_of: dict[int, list[int]] = {}
    for tap in range(taps):
        taps_of.setdefault((tap * dilation - before) % stride, []).append(tap)
    phases = []
    for first, members in sorted(taps_of.items()):
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


def polyphase(problem: ConvProblem) -> Decomposition:
    """The phases of the input's gradient.

    >>> parts, complete = polyphase(ConvProblem.parse("n1h4w4c1_k1x1f1_s2x2_d1x1_p0,0,0,0_g1"))
    >>> len(parts), complete
    (1, False)
    """
    p = problem
    rows = _phases_of_axis(p.h, p.kh, p.oh, p.stride_h, p.dilation_h, p.pad_top)
    columns = _phases_of_axis(p.w, p.kw, p.ow, p.stride_w, p.dilation_w, p.pad_left)
    parts = [
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
    return Decomposition(parts, complete)
