"""How to run a problem: the implementations of each direction, best first, and the plans made from them, cached."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastconv import _cpu, _reference
from fastconv._arguments import check_output, geometry
from fastconv._options import Options, current
from fastconv._problem import ConvProblem, array_shape, conv_problem
from fastconv._threads import threads_for

# Terms of one block of a sum. Blocks keep the error down (it grows with the square root of a block's length) and a
# block's panel of filters in the first cache. The bits of every result follow from these numbers. TensorFlow sums 3x3
# taps in one go, 128 x 9 terms and more, but 1x1 taps of small images in short blocks: to be as accurate takes 64
# there. Sums of one channel it adds in another order, now a little better, now a little worse: halves are better. Of
# the shortest of these most of the error is the last additions', and they gain nothing.
BLOCK_TERMS = 128
POINTWISE_BLOCK_TERMS = 64
SHORTEST_SPLIT = 16

# More output channels than this fill vectors by themselves; longer rows and larger banks of filters than these do not
# stay in the first and second cache beside the image.
IMAGE_FILTER_CHANNELS, IMAGE_FILTER_ROW, IMAGE_FILTER_TERMS = 15, 128, 1 << 15

# Below this many channels the taps of one filter row are summed as one run: shorter runs waste the kernel's time.
FOLD_BELOW = 16

# What runs a problem: (input, filters, output, threads) -> None, with 4-D arrays in the caller's layout.
Run = Callable[[np.ndarray, np.ndarray, np.ndarray, int], None]


class Summation(NamedTuple):
    """How each output's terms are summed: ``fc_sum`` in src/problem.h, field for field."""

    folded: bool
    runs: int
    run_length: int
    block_runs: int
    chunk: int


def summation(problem: ConvProblem) -> Summation:
    """The blocks of a sum: whole runs of about BLOCK_TERMS terms together, or equal pieces of one long run."""
    depth = problem.c // problem.groups
    folded = depth < FOLD_BELOW and problem.kw > 1
    runs, length = (problem.kh, problem.kw * depth) if folded else (problem.kh * problem.kw, depth)
    terms = POINTWISE_BLOCK_TERMS if problem.kh * problem.kw == 1 else BLOCK_TERMS
    longest = terms * 3 // 2
    if problem.c == 1 and runs * length > SHORTEST_SPLIT:
        longest = min(longest, -(-runs // 2) * length)
        terms = min(terms, longest)
    if runs * length <= longest:
        return Summation(folded, runs, length, runs, length)
    if length <= longest:
        blocks = round(runs * length / terms)
        return Summation(folded, runs, length, -(-runs // blocks), length)
    piece = -(-length // round(length / terms))
    return Summation(folded, runs, length, 1, -(-piece // 16) * 16)


class Implementation(NamedTuple):
    """One way to compute one direction."""

    name: str
    refuses: Callable[[ConvProblem, np.dtype, Options], str | None]
    bind: Callable[[ConvProblem, np.dtype, bool], Run]


def _never(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    return None


def _unless_pointwise(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if (problem.kh, problem.kw) != (1, 1):
        return "the filter is larger than 1x1"
    if (problem.stride_h, problem.stride_w) != (1, 1):
        return "the stride is not 1"
    if (problem.oh, problem.ow) != (problem.h, problem.w):
        return "the input is padded"
    return None


def _unless_image_filter(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.c > 1:
        return "the input has several channels"
    if problem.f > IMAGE_FILTER_CHANNELS:
        return "there are enough output channels to fill a vector"
    if problem.kw == 1 or problem.stride_w > 1 or problem.dilation_w > 1:
        return "the taps along the row are single, strided or dilated"
    if problem.kw > IMAGE_FILTER_ROW or problem.kh * problem.kw * problem.f > IMAGE_FILTER_TERMS:
        return "the filters are too large for the caches"
    if dtype.itemsize == 2:
        return "half precision is converted in the store"
    return None


def _bind_pointwise(problem: ConvProblem, dtype: np.dtype, channels_first: bool) -> Run:
    return _cpu.Forward(problem, summation(problem), dtype.name, channels_first, one_row=True).run


def _bind_image_filter(problem: ConvProblem, dtype: np.dtype, channels_first: bool) -> Run:
    return _cpu.Forward(problem, summation(problem), dtype.name, channels_first, along_rows=True).run


def _bind_implicit_gemm(problem: ConvProblem, dtype: np.dtype, channels_first: bool) -> Run:
    return _cpu.Forward(problem, summation(problem), dtype.name, channels_first).run


def _bind_reference(problem: ConvProblem, dtype: np.dtype, channels_first: bool) -> Run:
    def run(x: np.ndarray, w: np.ndarray, y: np.ndarray, threads: int) -> None:
        if channels_first:
            x, y = x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
        y[...] = _reference.forward(problem, x, w)

    return run


# Best first. Winograd and depthwise kernels go before the matrix products that serve their problems now.
FORWARD = (
    Implementation("image_filter", _unless_image_filter, _bind_image_filter),
    Implementation("pointwise", _unless_pointwise, _bind_pointwise),
    Implementation("implicit_gemm", _never, _bind_implicit_gemm),
    Implementation("reference", _never, _bind_reference),
)


def check_implementation(name: object) -> str:
    """The name of an implementation, checked."""
    names = [entry.name for entry in FORWARD]
    if name not in names:
        raise ValueError(f"implementation: {name!r} is not one of {', '.join(map(repr, names))}")
    return str(name)


def choose(
    problem: ConvProblem, dtype: np.dtype, options: Options
) -> tuple[Implementation, tuple[tuple[str, str], ...]]:
    """The first implementation that takes the problem, and the reasons of those that refused."""
    refusals: list[tuple[str, str]] = []
    for entry in FORWARD:
        reason = entry.refuses(problem, dtype, options)
        if reason is None and options.implementation not in (None, entry.name):
            reason = f"implementation {options.implementation!r} was asked for"
        if reason is None:
            return entry, tuple(refusals)
        if entry.name == options.implementation:
            raise ValueError(f"implementation: {entry.name!r} refuses {problem}: {reason}")
        refusals.append((entry.name, reason))
    raise AssertionError("the reference refuses nothing")


class Plan:
    """One problem with one dtype and layout, ready to run."""

    __slots__ = ("channels_first", "dtype", "implementation", "output_shape", "problem", "refusals", "run", "work")

    def __init__(
        self, problem: ConvProblem, input_shape: tuple[int, ...], dtype: np.dtype, channels_first: bool
    ) -> None:
        self.problem = problem
        self.dtype = dtype
        self.channels_first = channels_first
        self.output_shape = array_shape(problem, input_shape, channels_first)
        self.work = problem.multiply_adds
        self.run: Run | None = None  # None where there is nothing to sum
        if not (problem.output_is_empty or problem.input_is_empty):
            self.implementation, self.refusals = choose(problem, dtype, current.get())
            self.run = self.implementation.bind(problem, dtype, channels_first)

    def __call__(
        self, x: np.ndarray, w: np.ndarray, out: np.ndarray | None, inputs: tuple[Any, ...] = ()
    ) -> np.ndarray:
        """The result, in `out` if that is given; `inputs` are the caller's own, which `out` must not overlap."""
        shape = self.output_shape
        if out is None:
            out = np.empty(shape, self.dtype)
        else:
            check_output(out, shape, self.dtype, (x, w, *inputs))
        if self.run is None:
            out.fill(0)
        elif len(shape) == 4:
            self._run(x, w, out)
        else:
            self._run_batches(x, w, out)
        return out

    def _run(self, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
        assert self.run is not None
        if VERBOSE:
            self._run_and_tell(x, w, y)
        else:
            self.run(x, w, y, threads_for(self.work))

    def _run_batches(self, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
        """Several batch dimensions as one; one after the other where that would take a copy of the input."""
        steps = zip(x.strides[:-4], x.strides[1:-3], x.shape[1:-3])
        if x.ndim == 4 or all(outer == inner * size for outer, inner, size in steps):
            self._run(x.reshape(-1, *x.shape[-3:]), w, y.reshape(-1, *y.shape[-3:]))
        else:
            for images, results in zip(x, y):
                self._run_batches(images, w, results)

    def _run_and_tell(self, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
        assert self.run is not None
        threads = threads_for(self.work)
        start = time.perf_counter()
        self.run(x, w, y, threads)
        milliseconds = 1e3 * (time.perf_counter() - start)
        layout = "NCHW" if self.channels_first else "NHWC"
        print(
            f"fastconv: {self.problem} forward {self.dtype.name} {layout} {self.implementation.name}"
            f" {_cpu.instruction_set()} {threads} threads {milliseconds:.3f} ms",
            file=sys.stderr,
        )
        if VERBOSE > 1:
            for name, reason in self.refusals:
                print(f"fastconv:   not {name}: {reason}", file=sys.stderr)


def _verbosity() -> int:
    text = os.environ.get("FASTCONV_VERBOSE", "") or "0"
    if text not in ("0", "1", "2"):
        raise ImportError(f"FASTCONV_VERBOSE={text!r} is not 0, 1 or 2")
    return int(text)


VERBOSE = _verbosity()
if current.get().implementation is not None:
    try:
        check_implementation(current.get().implementation)
    except ValueError as error:
        raise ImportError(f"FASTCONV_IMPLEMENTATION: {error}") from None

_MOST_PLANS = 1024
_plans: dict[tuple[Any, ...], Plan] = {}


def plan_forward(
    input: np.ndarray, filters: np.ndarray, strides: Any, padding: Any, data_format: Any, dilations: Any
) -> Plan:
    """The plan for a call with these arguments, in the caller's spelling; equal calls get the same plan."""
    options = current.get()
    # Lists do not hash; the tuples that take their place mean the same.
    if type(strides) is list:
        strides = tuple(strides)
    if type(padding) is list:
        padding = tuple([tuple(pair) if type(pair) is list else pair for pair in padding])
    if type(dilations) is list:
        dilations = tuple(dilations)
    what = (input.shape, filters.shape, input.dtype, options.precision, options.implementation)
    key: tuple[Any, ...] = (what, strides, padding, data_format, dilations)
    try:
        plan = _plans.get(key)
    except TypeError:  # arrays, and lists within tuples, do not hash; what they mean does
        plan, key = None, ()
    if plan is not None:
        return plan
    meant = geometry(strides, padding, data_format, dilations)
    plan = _plans.get((what, meant))
    if plan is None:
        stride_pair, pads, dilation_pair, channels_first = meant
        problem = conv_problem(input.shape, filters.shape, stride_pair, pads, dilation_pair, channels_first)
        plan = Plan(problem, input.shape, input.dtype, channels_first)
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
    _plans[what, meant] = plan
    if key:
        _plans[key] = plan
    return plan
