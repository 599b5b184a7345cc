"""The convolution in readable NumPy: the oracle of the tests, and the last implementation of every list."""

from __future__ import annotations

import numpy as np

from fastconv._problem import ConvProblem


def _wide(dtype: np.dtype) -> type:
    """The type in which sums are formed: exact for integers modulo 2**32, double for floats."""
    return np.uint32 if dtype == np.int32 else np.float64


def padded(problem: ConvProblem, x: np.ndarray) -> np.ndarray:
    """The NHWC input with its zeros around it."""
    rows = (problem.pad_top, problem.pad_bottom)
    columns = (problem.pad_left, problem.pad_right)
    return np.pad(x, ((0, 0), rows, columns, (0, 0)))


def window(problem: ConvProblem, i: int, j: int) -> tuple[slice, slice]:
    """The cells of the padded input that tap (i, j) of every window meets."""
    top, left = i * problem.dilation_h, j * problem.dilation_w
    return (
        slice(top, top + (problem.oh - 1) * problem.stride_h + 1, problem.stride_h),
        slice(left, left + (problem.ow - 1) * problem.stride_w + 1, problem.stride_w),
    )


def forward(problem: ConvProblem, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The output, NHWC, of an NHWC input and HWIO filters, in the input's dtype.

    Sums are formed in float64 (int32: modulo 2**32) and rounded once.
    """
    wide = _wide(x.dtype)
    groups = problem.groups
    image: np.ndarray = padded(problem, x).astype(wide)
    filters: np.ndarray = w.astype(wide)
    depth, width = problem.c // groups, problem.f // groups
    y: np.ndarray = np.zeros((problem.n, problem.oh, problem.ow, problem.f), wide)
    for i in range(problem.kh):
        for j in range(problem.kw):
            rows, columns = window(problem, i, j)
            cells = image[:, rows, columns]
            for g in range(groups):
                inputs, outputs = slice(g * depth, (g + 1) * depth), slice(g * width, (g + 1) * width)
                with np.errstate(all="ignore"):
                    y[..., outputs] += cells[..., inputs] @ filters[i, j, :, outputs]
    with np.errstate(all="ignore"):
        return y.astype(x.dtype)
