"""Convolution and its gradients in readable NumPy: the tests' oracle, and the last implementation of every list."""

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


def backprop_input(problem: ConvProblem, w: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The gradient of the input, NHWC, from that of the output: what each output adds to the cells of its window."""
    wide = _wide(w.dtype)
    groups = problem.groups
    filters: np.ndarray = w.astype(wide)
    gradient: np.ndarray = dy.astype(wide)
    depth, width = problem.c // groups, problem.f // groups
    dx: np.ndarray = padded(problem, np.zeros((problem.n, problem.h, problem.w, problem.c), wide))
    for i in range(problem.kh):
        for j in range(problem.kw):
            rows, columns = window(problem, i, j)
            for g in range(groups):
                inputs, outputs = slice(g * depth, (g + 1) * depth), slice(g * width, (g + 1) * width)
                with np.errstate(all="ignore"):
                    dx[:, rows, columns, inputs] += gradient[..., outputs] @ filters[i, j, :, outputs].T
    top, left = problem.pad_top, problem.pad_left
    with np.errstate(all="ignore"):
        return dx[:, top : top + problem.h, left : left + problem.w].astype(w.dtype)


def backprop_filter(problem: ConvProblem, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The gradient of the filters, HWIO, from that of the output: for each tap, its cells times the outputs."""
    wide = _wide(x.dtype)
    groups = problem.groups
    image: np.ndarray = padded(problem, x).astype(wide)
    gradient: np.ndarray = dy.astype(wide)
    depth, width = problem.c // groups, problem.f // groups
    dw: np.ndarray = np.zeros((problem.kh, problem.kw, depth, problem.f), wide)
    for i in range(problem.kh):
        for j in range(problem.kw):
            rows, columns = window(problem, i, j)
            cells = image[:, rows, columns].reshape(-1, problem.c)
            for g in range(groups):
                inputs, outputs = slice(g * depth, (g + 1) * depth), slice(g * width, (g + 1) * width)
                with np.errstate(all="ignore"):
                    dw[i, j, :, outputs] = cells[:, inputs].T @ gradient[..., outputs].reshape(-1, width)
    with np.errstate(all="ignore"):
        return dw.astype(x.dtype)
