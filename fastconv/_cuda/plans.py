"""Plans for CuPy arrays: what is launched for a call, kept by how its arrays look."""

from __future__ import annotations

import time
from typing import Any

import cupy
import numpy as np

from fastconv._arguments import check_output
from fastconv._cuda import planner
from fastconv._cuda.convolutions import MAKERS, Call, Steps
from fastconv._cuda.launch import NOTHING, device
from fastconv._cuda.memory import dense, on_one_device, workspace
from fastconv._cuda.pointwise import apply_epilogue
from fastconv._epilogue import EpilogueArguments
from fastconv._options import current
from fastconv._plan import VERBOSE, Choice, channels_of, choose, tell
from fastconv._problem import ConvProblem, channels_last

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
        self.choice: Choice = choose(planner.IMPLEMENTATIONS, direction, problem, dtype, options)
        self.is_empty = problem.output_is_empty or problem.input_is_empty or problem.filter_is_empty
        self._steps: dict[Any, Steps] = {}

    def __call__(
        self, a: Any, b: Any, out: Any = None, inputs: tuple[Any, ...] = (), epilogue: EpilogueArguments | None = None
    ) -> Any:
        """The result, in `out` if that is given; `inputs` are the caller's own, which `out` must not overlap."""
        bias, activation = (None, None) if epilogue is None else (epilogue.bias, epilogue.activation)
        if out is not None and not self._takes(out, a, b, inputs):
            check_output(out, a, self.result_shape, self.dtype, (a, b, *inputs))
        on_one_device(a, b, bias, out)
        with a.device:
            if out is None:
                out = cupy.empty(self.result_shape, self.dtype)
            if VERBOSE and out.size:
                start = time.perf_counter()
                self._run(a, b, out, bias, activation)
                cupy.cuda.get_current_stream().synchronize()
                tell(self, f"cuda device {a.device.id}", 1e3 * (time.perf_counter() - start))
            elif out.size:
                # Arrays that look as others did after their conversion need none.
                steps = None if self.channels_first else self._steps.get(_look_of(a, b, out, activation))
                if steps is None:
                    self._run(a, b, out, bias, activation)
                else:
                    steps(a, b, out, NOTHING if bias is None else bias)
        return out

    def _takes(self, out: Any, a: Any, b: Any, inputs: tuple[Any, ...]) -> bool:
        """Whether ``check_output`` would have no objection, in the common case."""
        if type(out) is not cupy.ndarray or out.shape != self.result_shape or out.dtype != self.dtype:
            return False
        if any(array is not a and array is not b for array in inputs):
            return False
        first, end = out.data.ptr, out.data.ptr + out.nbytes
        for array in (a, b):
            start = array.data.ptr
            if not array.flags.c_contiguous or (start < end and first < start + array.nbytes):
                return False
        return bool(out.flags.c_contiguous)

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
            apply_epilogue(None, result, nothing, channels_of(self) if images_out else 1, activation)
        else:
            read = self._operands(a, b)
            self._steps_of(*read, result, activation)(*read, result, nothing)
        if turned:
            result = result.transpose(0, 3, 1, 2)
            out.reshape(result.shape)[...] = result

    def _operands(self, a: Any, b: Any) -> tuple[Any, Any]:
        """The operands as the kernels read them: images NHWC with dense channels, filters and other factors dense."""
        if self.direction == "forward":
            return self._images(a if a.ndim == 4 else dense(a).reshape(-1, *a.shape[-3:])), dense(b)
        if self.direction == "backprop_input":
            return dense(a), self._images(b)
        return self._images(a), dense(self._images(b))

    def _images(self, array: Any) -> Any:
        array = channels_last(array, self.channels_first)
        runs = array.strides[3] == array.itemsize or array.shape[3] == 1
        whole = not any(stride % array.itemsize for stride in array.strides[:3])
        return array if runs and whole else dense(array)

    def _steps_of(self, a: Any, b: Any, result: Any, activation: str | None) -> Steps:
        look = _look_of(a, b, result, activation)
        found = self._steps.get(look)
        if found is None:
            call = Call(device(a.device.id), self.dtype, self.precision, activation, self.choice.implementation.name)
            make = MAKERS[self.direction]
            found = make(self.problem, call, a, b, result)
            if len(self._steps) >= _MOST_STEPS:
                self._steps.clear()
            self._steps[look] = found
        return found


def _look_of(a: Any, b: Any, result: Any, activation: str | None) -> tuple[Any, ...]:
    """What the launches of a problem depend on."""
    bits = a.data.ptr % planner.COPY, b.data.ptr % planner.COPY, result.data.ptr % planner.COPY
    return a.device.id, a.strides, b.strides, bits, activation


def describe_operands(operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """Operands as their shapes, and the dtype: CuPy arrays do not hash."""
    array = next(operand for operand in operands if type(operand) is not tuple)
    return (*[operand if type(operand) is tuple else operand.shape for operand in operands], array.dtype)
