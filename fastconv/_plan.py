"""Plans: which implementation runs a problem, with which configuration, decided once and kept by the call."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv._arguments import geometry
from fastconv._backend import Plan
from fastconv._cpu import _launch
from fastconv._options import Options, current
from fastconv._problem import ConvProblem, Padding, Pair, array_shape, conv_problem


class Implementation(NamedTuple):
    """One way to compute one direction."""

    name: str
    # Its configuration for a problem, a dtype and the caller's options; or, in words, why it refuses them.
    configure: Callable[[ConvProblem, np.dtype, Options], Any]
    # What makes a configuration ready to run, of (problem, dtype, whether channels come first, options, configuration);
    # None where that depends on the arrays of a call, too.
    bind: Any = None


class Choice(NamedTuple):
    """The implementation that runs a problem."""

    implementation: Implementation
    configuration: Any
    refusals: tuple[tuple[str, str], ...]  # names of those before it, and their reasons


def choose(
    implementations: Mapping[str, Sequence[Implementation]],
    direction: str,
    problem: ConvProblem,
    dtype: np.dtype,
    options: Options,
) -> Choice:
    """The first implementation in the direction's list that takes the problem, or the one that the caller wants.

    Raises
    ------
    ValueError
        If the one that the caller wants refuses the problem, or does not compute the direction.
    """
    refusals: list[tuple[str, str]] = []
    for entry in implementations[direction]:
        configuration = entry.configure(problem, dtype, options)
        if not isinstance(configuration, str) and options.implementation not in (None, entry.name):
            configuration = f"implementation {options.implementation!r} was asked for"
        if not isinstance(configuration, str):
            return Choice(entry, configuration, tuple(refusals))
        if entry.name == options.implementation:
            raise ValueError(f"implementation: {entry.name!r} refuses {problem}: {configuration}")
        refusals.append((entry.name, configuration))
    names = ", ".join(entry.name for entry in implementations[direction])
    raise ValueError(f"implementation: {options.implementation!r} does not compute {direction} here, but {names} do")


def channels_of(plan: Plan) -> int:
    """The channels of a plan's result."""
    return plan.result_shape[-3 if plan.channels_first else -1]


def tell(plan: Plan, where: str, milliseconds: float) -> None:
    """Tells whoever watches about a call of a plan, and why other implementations refused."""
    assert plan.choice is not None
    layout = "NCHW" if plan.channels_first else "NHWC"
    print(
        f"fastconv: {plan.problem} {plan.direction} {plan.dtype.name} {layout} {plan.choice.implementation.name}"
        f" {where} {milliseconds:.3f} ms",
        file=sys.stderr,
    )
    if VERBOSE > 1:
        for name, reason in plan.choice.refusals:
            print(f"fastconv:   not {name}: {reason}", file=sys.stderr)


def _verbosity() -> int:
    text = os.environ.get("FASTCONV_VERBOSE", "") or "0"
    if text not in ("0", "1", "2"):
        raise ImportError(f"FASTCONV_VERBOSE={text!r} is not 0, 1 or 2")
    return int(text)


VERBOSE = _verbosity()
MOST_PLANS = 1024  # that a planner keeps


class Planner:
    """Makes one backend's plans, and keeps them by the arguments of the calls that they are for.

    `make` makes the plan of a direction, a problem, the result's shape, a dtype, and whether channels come first.
    `described`, if given, replaces operands by what their plans depend on, and hashes.
    """

    def __init__(
        self,
        make: Callable[[str, ConvProblem, tuple[int, ...], np.dtype, bool], Any],
        described: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None,
    ) -> None:
        self.make = make
        self.described = described
        self.plans: dict[tuple[Any, ...], Any] = {}

    def plan(
        self, direction: str, operands: tuple[Any, ...], strides: Any, padding: Any, data_format: Any, dilations: Any
    ) -> Any:
        """The plan for a call with these arguments, in the caller's spelling; equal calls get the same plan.

        `operands` are arrays of one dtype, or shapes: of the input and the filters and, in a gradient, of the output's
        gradient.
        """
        options = current.get()
        spelled = strides, padding, data_format, dilations
        described = operands if self.described is None else self.described(operands)
        key = _launch.call_key(direction, described, spelled, options)
        hashes = True
        try:
            plan = self.plans.get(key)
        except TypeError:  # arrays, and lists within tuples, do not hash; what they mean does
            plan, hashes = None, False
        if plan is not None:
            return plan
        dtype = next(operand.dtype for operand in operands if type(operand) is not tuple)
        shapes = tuple([operand if type(operand) is tuple else operand.shape for operand in operands])
        # Once more: an array may have changed its shape while the caller's objects were hashed.
        described = operands if self.described is None else self.described(operands)
        key = _launch.call_key(direction, described, spelled, options)
        geometric = geometry(*spelled)
        problem_key = (direction, shapes, dtype, options.precision, options.implementation, geometric)
        plan = self.plans.get(problem_key)
        if plan is None:
            problem, result = problem_of(direction, shapes, *geometric)
            plan = self.make(direction, problem, result, dtype, geometric[3])
        if len(self.plans) >= MOST_PLANS:
            self.plans.clear()
        self.plans[problem_key] = plan
        if hashes:
            self.plans[key] = plan
        return plan


def problem_of(
    direction: str,
    shapes: tuple[tuple[int, ...], ...],
    strides: Pair,
    padding: Padding,
    dilations: Pair,
    channels_first: bool,
) -> tuple[ConvProblem, tuple[int, ...]]:
    """The problem of a call with operands of these shapes, and the shape of its result."""
    input_shape, filter_shape = shapes[:2]
    gradient = direction != "forward"
    problem = conv_problem(input_shape, filter_shape, strides, padding, dilations, channels_first, gradient)
    output_shape = array_shape(problem, input_shape, channels_first)
    if gradient and shapes[2] != output_shape:
        raise ValueError(
            f"out_backprop: its shape, {shapes[2]}, does not match the computed one, {output_shape}"
            f" (input shape {input_shape}, filter shape {filter_shape})"
        )
    result = {"forward": output_shape, "backprop_input": input_shape, "backprop_filter": filter_shape}[direction]
    return problem, result
