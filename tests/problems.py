"""Convolutions for tests: random ones, their inputs, and how far a result may be from the truth."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

from fastconv import nn, options, output_shape
from fastconv._cpu import _core
from fastconv._problem import ConvProblem

# The instruction sets of this CPU.
SUPPORTED = [name for name, supported in _core.instruction_sets().items() if supported]

DTYPES = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "int32": np.dtype(np.int32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
# Unit roundoff of each dtype, and of the type in which its sums are formed.
ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53, "float16": 2.0**-11, "bfloat16": 2.0**-8}
SUM_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53, "float16": 2.0**-24, "bfloat16": 2.0**-24}


class Case(NamedTuple):
    """The arguments of a call."""

    input: np.ndarray
    filters: np.ndarray
    strides: Any
    padding: Any
    data_format: str = "NHWC"
    dilations: Any = None


def random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype == "int32":
        return rng.integers(-(2**31), 2**31, shape).astype(np.int32)
    return rng.standard_normal(shape).astype(DTYPES[dtype])


@st.composite
def cases(draw, dtypes=tuple(DTYPES), most_channels: int = 40, layouts=("NHWC", "NCHW")) -> Case:
    """Any geometry: groups, strides with dilations, all paddings, both layouts, odd sizes, many channels."""
    if draw(st.integers(0, 4)) == 0:  # depthwise
        groups, depth, width = draw(st.one_of(st.integers(2, most_channels), st.just(130))), 1, draw(st.integers(1, 3))
    else:
        groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
        depth = draw(st.one_of(st.integers(1, most_channels), st.sampled_from([16, 32, 64, 130, 200])))
        width = draw(st.one_of(st.integers(1, most_channels), st.sampled_from([16, 32, 33, 64])))
    n, h, w = draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 40))
    kh, kw = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilations = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    layout = draw(st.sampled_from(layouts))
    padding: Any = draw(st.sampled_from(["SAME", "VALID", "EXPLICIT"]))
    if padding == "VALID":
        h, w = h + (kh - 1) * dilations[0], w + (kw - 1) * dilations[1]
    if padding == "EXPLICIT":
        pads = draw(st.tuples(*[st.integers(0, 6)] * 4))
        h, w = (max(h, (kh - 1) * dilations[0] + 1 - pads[0]), max(w, (kw - 1) * dilations[1] + 1 - pads[2]))
        rows, columns, none = [pads[0], pads[1]], [pads[2], pads[3]], [0, 0]
        padding = [none, rows, columns, none] if layout == "NHWC" else [none, none, rows, columns]
    dtype = draw(st.sampled_from(dtypes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (n, h, w, groups * depth) if layout == "NHWC" else (n, groups * depth, h, w)
    return Case(
        random_array(rng, shape, dtype),
        random_array(rng, (kh, kw, depth, groups * width), dtype),
        strides,
        padding,
        layout,
        dilations,
    )


def inputs(problem: ConvProblem, dtype: str = "float32", seed: int = 0) -> Case:
    """A case of this problem with random contents."""
    rng = np.random.default_rng(seed)
    return Case(
        random_array(rng, (problem.n, problem.h, problem.w, problem.c), dtype),
        random_array(rng, (problem.kh, problem.kw, problem.c // problem.groups, problem.f), dtype),
        (problem.stride_h, problem.stride_w),
        [(0, 0), (problem.pad_top, problem.pad_bottom), (problem.pad_left, problem.pad_right), (0, 0)],
        "NHWC",
        (problem.dilation_h, problem.dilation_w),
    )


def exact(case: Case) -> np.ndarray:
    """The reference in float64 of floats, modulo 2**32 of integers."""
    with options(implementation="reference"):
        return nn.conv2d(*_wide(case))


def magnitude(case: Case) -> np.ndarray:
    """What each sum would be if no term canceled another."""
    return exact(_absolute(case))


def _wide(case: Case) -> Case:
    wide = np.int32 if case.input.dtype == np.int32 else np.float64
    return case._replace(input=case.input.astype(wide), filters=case.filters.astype(wide))


def _absolute(case: Case) -> Case:
    return case._replace(input=abs(case.input.astype(float)), filters=abs(case.filters.astype(float)))


def assert_close(result: np.ndarray, case: Case, slack: float = 1.0) -> None:
    """Integers are equal; floats are within the bound of a sum in any order, and one rounding of the result.

    A sum of n terms errs by at most n roundoffs of the accumulated magnitude; `slack` multiplies that.
    """
    assert_within_roundoff(result, exact(case), int(np.prod(case.filters.shape[:3])), magnitude(case), slack)


def assert_within_roundoff(
    result: np.ndarray, want: np.ndarray, terms: int, magnitude: np.ndarray, slack: float = 1.0
) -> None:
    """Each element of the result errs by no more than any order of its sum may."""
    name = result.dtype.name
    assert result.shape == want.shape
    if name == "int32":
        np.testing.assert_array_equal(result, want)
        return
    bound = slack * (terms * SUM_ROUNDOFF[name] * magnitude + ROUNDOFF[name] * abs(want))
    if name == "float64":
        bound *= 2  # the reference errs as much
    if name == "float16":
        bound += 2.0**-25  # half of the smallest subnormal
    error = abs(result.astype(np.float64) - want)
    worst = np.unravel_index(np.argmax(error - bound), error.shape) if error.size else ()
    assert (error <= bound).all(), f"largest difference {error.max()}; {error[worst]} at {worst}, above {bound[worst]}"


def output_gradient(case: Case, seed: int = 0) -> np.ndarray:
    """A random gradient of the case's output."""
    shape = output_shape(case.input.shape, case.filters.shape, *case[2:])
    return random_array(np.random.default_rng(seed), shape, case.input.dtype.name)


def gradient(direction: str, case: Case, dy: np.ndarray) -> np.ndarray:
    """The gradient of the case's input or filters."""
    geometry = {"strides": case.strides, "padding": case.padding, "data_format": case.data_format}
    if direction == "backprop_input":
        function, operands = nn.conv2d_backprop_input, (case.input.shape, case.filters, dy)
    else:
        function, operands = nn.conv2d_backprop_filter, (case.input, case.filters.shape, dy)
    return function(*operands, **geometry, dilations=case.dilations or 1)


def assert_gradient_close(result: np.ndarray, direction: str, case: Case, dy: np.ndarray, slack: float = 1.0) -> None:
    """As assert_close, for a gradient."""
    assert result.dtype == case.input.dtype
    wide = _wide(case)
    with options(implementation="reference"):
        want = gradient(direction, wide, dy.astype(wide.input.dtype))
        size = gradient(direction, _absolute(case), abs(dy.astype(float)))
    taps, width = case.filters.shape[0] * case.filters.shape[1], case.filters.shape[3]
    terms = taps * width if direction == "backprop_input" else dy.size // width
    assert_within_roundoff(result, want, terms, size, slack)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter, away from the source tree; its output is captured, never its failure."""
    import os
    import tempfile

    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        timeout=300,
    )
