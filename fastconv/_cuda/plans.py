"""Plans for CuPy arrays: what computes a call, cached by the call's arguments."""

from __future__ import annotations

import time
from typing import Any

import cupy
import numpy as np

from fastconv._arguments import check_output, geometry
from fastconv._cuda import planner
from fastconv._cuda.convolutions import MAKERS, Call, Steps, choose
from fastconv._cuda.launch import NOTHING, dense, device, on_one_device, workspace
from fastconv._cuda.pointwise import finished
from fastconv._epilogue import Extras
from fastconv._options import current
from fastconv._plan import VERBOSE, problem_of, tell
from fastconv._problem import ConvProblem

_MOST_STEPS = 64  # that a plan keeps, of arrays with different strides and alignment


class DevicePlan:
    """One problem in one direction, dtype and layout, for CuPy arrays; it is called as plans for NumPy arrays are."""

    def __init__(
        self,
        direction: str,
        problem: ConvProblem,
        result_shape: tuple[int, ...],
        dtype: np.dtype,
        channels_first: bool,
    ) -> None:
        options = current.get()
        self.direction = direction
        self.problem = problem
        self.result_shape = result_shape
        self.dtype = dtype
        self.channels_first = channels_first
        self.precision = options.precision
        self.implementation, self.refusals = choose(problem, options.implementation)
        self.is_empty = problem.output_is_empty or problem.input_is_empty or problem.filter_is_empty
        self._steps: dict[Any, Steps] = {}

    def channels(self) -> int:
        """Of the result."""
        return self.result_shape[-3 if self.channels_first else -1]

    def __call__(
        self, a: Any, b: Any, out: Any = None, inputs: tuple[Any, ...] = (), extras: Extras | None = None
    ) -> Any:
        """The result, in `out` if that is given; `inputs` are the caller's own, which `out` must not overlap."""
        if out is not None:
            check_output(out, self.result_shape, self.dtype, (a, b, *inputs), on_device=True)
        bias = None if extras is None else extras.bias
        on_one_device(a, b, bias, out)
        with cupy.cuda.Device(a.device.id):
            if out is None:
                out = cupy.empty(self.result_shape, self.dtype)
            if out.size:
                start = time.perf_counter()
                self._run(a, b, out, bias, None if extras is None else extras.activation)
                if VERBOSE:
                    cupy.cuda.get_current_stream().synchronize()
                    tell(self, f"cuda device {a.device.id}", 1e3 * (time.perf_counter() - start))
        return out

    def _run(self, a: Any, b: Any, out: Any, bias: Any, activation: str | None) -> None:
        nothing = NOTHING if bias is None else bias
        images_out = self.direction != "backprop_filter"
        turned = images_out and self.channels_first
        result = out
        if turned:
            p = self.problem
            sizes = (p.n, p.h, p.w, p.c) if self.direction == "backprop_input" else (p.n, p.oh, p.ow, p.f)
            result = workspace(sizes, self.dtype)
        if self.is_empty:
            finished(None, result, nothing, self.channels() if images_out else 1, activation)
        else:
            read = self._operands(a, b)
            self._steps_of(*read, result, activation)(*read, result, nothing)
        if turned:
            result = result.transpose(0, 3, 1, 2)
            out.reshape(result.shape)[...] = result

    def _operands(self, a: Any, b: Any) -> tuple[Any, Any]:
        """The operands as the kernels read them: images NHWC with dense channels, filters and other factors dense."""
        if self.direction == "forward":
            return self._images(a.reshape(-1, *a.shape[-3:])), dense(b)
        if self.direction == "backprop_input":
            return dense(a), self._images(b)
        return self._images(a), dense(self._images(b))

    def _images(self, array: Any) -> Any:
        if self.channels_first:
            array = array.transpose(0, 2, 3, 1)
        runs = array.strides[3] == array.itemsize or array.shape[3] == 1
        whole = not any(stride % array.itemsize for stride in array.strides[:3])
        return array if runs and whole else dense(array)

    def _steps_of(self, a: Any, b: Any, result: Any, activation: str | None) -> Steps:
        number = a.device.id
        bits = tuple([array.data.ptr % planner.COPY for array in (a, b, result)])
        key = number, a.strides, b.strides, bits, activation
        found = self._steps.get(key)
        if found is None:
            call = Call(device(number), self.dtype, self.precision, activation, self.implementation.name)
            make = MAKERS[self.direction]
            found = make(self.problem, call, a, b, result)
            if len(self._steps) >= _MOST_STEPS:
                self._steps.clear()
            self._steps[key] = found
        return found


_MOST_PLANS = 1024
_plans: dict[tuple[Any, ...], DevicePlan] = {}


def plan(
    direction: str,
    operands: tuple[Any, ...],
    strides: Any,
    padding: Any,
    data_format: Any,
    dilations: Any,
) -> DevicePlan:
    """The plan for a call with these arguments, as ``fastconv._plan.plan`` makes them for NumPy arrays."""
    dtype = next(operand.dtype for operand in operands if isinstance(operand, cupy.ndarray))
    shapes = tuple([operand.shape if isinstance(operand, cupy.ndarray) else operand for operand in operands])
    meant = geometry(strides, padding, data_format, dilations)
    options = current.get()
    key = direction, shapes, dtype, meant, options.precision, options.implementation
    found = _plans.get(key)
    if found is None:
        problem, result = problem_of(direction, shapes, *meant)
        found = DevicePlan(direction, problem, result, dtype, meant[3])
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        _plans[key] = found
    return found
