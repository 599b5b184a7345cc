"""The backend of CuPy arrays."""

from __future__ import annotations

import contextlib
from typing import Any

import cupy
import numpy as np

from fastconv._arguments import DTYPES, check_result
from fastconv._backend import Backend, backend_of
from fastconv._cuda import pointwise, pools
from fastconv._cuda.memory import convert, on_device_of
from fastconv._cuda.plans import DevicePlan, describe_operands
from fastconv._plan import Planner
from fastconv._problem import PoolProblem

_OF_INTEGERS = ("relu", "relu6", "relu_grad")  # operations that take int32, too
_seen: set[np.dtype] = set()  # those among DTYPES that were: names take as long to look up as all else


def _sees(dtype: np.dtype) -> bool:
    """Whether it is one of DTYPES, which is remembered."""
    if dtype.name not in DTYPES:
        return False
    _seen.add(dtype)
    return True


class CuPyBackend(Backend):
    """What is computed on CUDA devices."""

    name = "CuPy"
    move = "cupy.asarray"

    def __init__(self) -> None:
        self.planner = Planner(DevicePlan, describe_operands)
        self.plan = self.planner.plan

    def adopt(self, array: np.ndarray, like: Any) -> Any:
        with cupy.cuda.Device(like.device.id):
            return cupy.asarray(array)

    def convert(self, array: Any, dtype: Any, order: str = "K") -> Any:
        return convert(array, dtype, order)

    def dense(self, array: Any, dtype: Any) -> Any:
        return convert(array, dtype, "C")

    def behaved(self, array: Any) -> Any:
        return array

    @staticmethod
    def are_behaved(first: Any, second: Any, /) -> bool:
        kind = cupy.ndarray
        if type(first) is not kind or type(second) is not kind or first.dtype != second.dtype:
            return False
        return first.dtype in _seen or _sees(first.dtype)

    def check_out(self, out: Any, shape: tuple[int, ...], dtype: np.dtype, inputs: tuple[Any, ...]) -> None:
        check_result(out, shape, dtype)
        own = [array for array in inputs if backend_of(array) is self]
        for array in own:
            if array.device.id != out.device.id:
                raise ValueError(f"out: is on device {out.device.id}, but an input is on device {array.device.id}")
        if any(cupy.may_share_memory(out, array) for array in own):
            raise ValueError("out: overlaps an input in memory")

    def scope(self, array: Any) -> contextlib.AbstractContextManager[object]:
        return on_device_of(array)

    def pool(self, problem: PoolProblem, average: bool, images: Any, result: Any) -> bool:
        if images.dtype.kind in "iu" or not (average or images.size):
            return False
        pools.pool(problem, average, images, result)
        return True

    def largest(self, problem: PoolProblem, images: Any) -> tuple[Any, Any] | None:
        return pools.largest(problem, images)

    def pool_gradient(
        self, problem: PoolProblem, images: Any | None, gradient: Any, shape: tuple[int, ...], dtype: Any
    ) -> Any:
        return pools.pool_gradient(problem, images, gradient, shape, dtype)

    def elementwise(self, operation: str, operands: tuple[Any, ...], out: Any, parameter: float = 0.0) -> Any | None:
        first = operands[0]
        if first.dtype.name not in DTYPES or (first.dtype == np.int32 and operation not in _OF_INTEGERS):
            return None
        return pointwise.compute(operation, operands, out, parameter)

    def bias_add(self, value: Any, bias: Any, inner: int, out: Any) -> Any | None:
        return pointwise.add_bias(value, bias, inner, out) if value.dtype.name in DTYPES else None

    def normalize(self, x: Any, y: Any, dy: Any, radius: int, factors: tuple[float, float, float]) -> None:
        return None


BACKEND = CuPyBackend()
