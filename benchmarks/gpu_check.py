"""How far a device's result is from the truth: samples of it beside exact sums, and all of it beside other kernels'."""

from __future__ import annotations

from typing import Any

import numpy as np
from worker import operands

import fastconv
from fastconv._problem import ConvProblem

_SAMPLES = 48  # elements drawn at random, beside the first and the last


def _cells(places: np.ndarray, size: int) -> np.ndarray:
    return (places >= 0) & (places < size)


def exact_sum(p: ConvProblem, direction: str, a: np.ndarray, b: np.ndarray, place: tuple[int, ...]) -> float:
    """One element of the result, in float64, from its definition; the operands are those of the direction."""
    depth, width = p.c // p.groups, p.f // p.groups
    taps = np.arange(p.kh) * p.dilation_h - p.pad_top, np.arange(p.kw) * p.dilation_w - p.pad_left
    if direction == "forward":
        n, i, j, f = place
        rows, columns = i * p.stride_h + taps[0], j * p.stride_w + taps[1]
        at_h, at_w = _cells(rows, p.h), _cells(columns, p.w)
        group = slice(f // width * depth, (f // width + 1) * depth)
        cells = a[n][np.ix_(rows[at_h], columns[at_w])][:, :, group]
        return float((cells.astype(np.float64) * b[np.ix_(at_h, at_w)][..., f].astype(np.float64)).sum())
    if direction == "backprop_input":
        n, i, j, c = place
        group = slice(c // depth * width, (c // depth + 1) * width)
        total = 0.0
        for kh, kw in np.ndindex(p.kh, p.kw):
            (row, off_h), (column, off_w) = divmod(i - taps[0][kh], p.stride_h), divmod(j - taps[1][kw], p.stride_w)
            if not off_h and not off_w and 0 <= row < p.oh and 0 <= column < p.ow:
                gradient, filters = b[n, row, column, group], a[kh, kw, c % depth, group]
                total += float(gradient.astype(np.float64) @ filters.astype(np.float64))
        return total
    kh, kw, c, f = place
    rows, columns = np.arange(p.oh) * p.stride_h + taps[0][kh], np.arange(p.ow) * p.stride_w + taps[1][kw]
    at_h, at_w = _cells(rows, p.h), _cells(columns, p.w)
    cells = a[:, rows[at_h]][:, :, columns[at_w], f // width * depth + c].astype(np.float64)
    return float((cells * b[:, at_h][:, :, at_w, f].astype(np.float64)).sum())


def largest_difference(peer: Any, case: Any, kernels: Any) -> float:
    """From exact sums and from strict float32 sums by the implicit matrix product, beside the largest of these.

    `kernels` is a context, in which the result is computed.
    """
    import cupy

    p, direction, arithmetic = case
    pair = [array.astype(arithmetic.dtype) for array in operands(p, direction, "float32")]
    moved = [cupy.asarray(array) for array in pair]
    with kernels:
        result = peer.compute(case, *moved)
    got = result.astype(np.float32)
    with fastconv.options(precision="strict", implementation="implicit_gemm"):
        want = peer.compute(case, *(array.astype(np.float32) for array in moved))
    largest = float(abs(want).max())
    assert np.isfinite(largest) and largest > 0, f"strict sums are wrong: the largest is {largest}"
    differences = [float(abs(got - want).max())]
    rng = np.random.default_rng(0)
    corners = [(0,) * 4, tuple(size - 1 for size in got.shape)]
    host = got.get()
    for place in [*corners, *(tuple(map(int, rng.integers(0, got.shape))) for _ in range(_SAMPLES))]:
        differences.append(abs(float(host[place]) - exact_sum(p, direction, *pair, place)))
    return max(differences, key=lambda value: np.inf if np.isnan(value) else value) / largest
