"""Backprop-input as dense forward convolutions of the output's gradient: one for each phase of the stride.

The cells of the input's gradient that lie ``stride`` apart meet the same taps, each at an output pixel one further on.
So they are a convolution with stride 1 of the output's gradient, with those taps alone, in reverse order, and input
and output channels exchanged: no zeros are inserted, and none multiplied.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fastconv._problem import ConvProblem


class Phase(NamedTuple):
    """One dense convolution: its own problem, and where in the arrays it takes place."""

    problem: ConvProblem  # input: the output's gradient; output: these cells of the input's gradient
    row: int  # of the first of those cells
    column: int
    tap_row: int  # of the first tap, in the phase's order
    tap_column: int
    tap_step_h: int  # from a tap to the next in that order: negative
    tap_step_w: int


class _Axis(NamedTuple):
    """A phase along one axis."""

    first: int
    cells: int
    taps: int
    tap: int
    tap_step: int
    dilation: int
    before: int
    after: int


def _along_axis(size: int, taps: int, out: int, stride: int, dilation: int, before: int) -> list[_Axis]:
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
            _Axis(
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


def phases(problem: ConvProblem) -> tuple[list[Phase], bool]:
    """The phases that have taps, and whether they cover every cell of the input's gradient; other cells are zero.

    >>> found, complete = phases(ConvProblem.parse("n1h4w4c1_k1x1f1_s2x2_d1x1_p0,0,0,0_g1"))
    >>> len(found), complete
    (1, False)
    """
    p = problem
    rows = _along_axis(p.h, p.kh, p.oh, p.stride_h, p.dilation_h, p.pad_top)
    columns = _along_axis(p.w, p.kw, p.ow, p.stride_w, p.dilation_w, p.pad_left)
    found = [
        Phase(
            ConvProblem(
                p.n, p.oh, p.ow, p.f, r.taps, c.taps, p.c, r.cells, c.cells, 1, 1, r.dilation, c.dilation,
                r.before, r.after, c.before, c.after, p.groups,
            ),
            r.first, c.first, r.tap, c.tap, r.tap_step, c.tap_step,
        )
        for r in rows
        for c in columns
    ]  # fmt: skip
    complete = sum(r.cells for r in rows) == p.h and sum(c.cells for c in columns) == p.w
    return found, complete
