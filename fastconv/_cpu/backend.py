"""The backend of NumPy arrays."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from fastconv._arguments import check_result, dense
from fastconv._backend import Backend, is_foreign
from fastconv._cpu import _launch, _layers, pools
from fastconv._cpu import cost_model as costs
from fastconv._cpu.elementwise import elementwise
from fastconv._cpu.plans import CpuPlan
from fastconv._plan import Planner
from fastconv._problem import PoolProblem
from fastconv._threads import threads_for


class NumPyBackend(Backend):
    """What is computed on the CPU."""

    name = "NumPy"
    move = "cupy.asnumpy"
    are_behaved = staticmethod(_launch.behaved)

    def __init__(self) -> None:
        self.planner = Planner(CpuPlan)
        self.plan = self.planner.plan

    def adopt(self, array: np.ndarray, like: Any) -> np.ndarray:
        return array

    def convert(self, array: np.ndarray, dtype: Any, order: str = "K") -> np.ndarray:
        return array.astype(dtype, order=order, copy=False)  # type: ignore[call-overload, no-any-return]

    def dense(self, array: np.ndarray, dtype: Any) -> np.ndarray:
        return dense(array, dtype)

    def behaved(self, array: np.ndarray) -> np.ndarray:
        if not array.flags.aligned or any(stride % array.itemsize for stride in array.strides):
            array = array.copy()
        return array

    def check_out(self, out: np.ndarray, shape: tuple[int, ...], dtype: np.dtype, inputs: tuple[Any, ...]) -> None:
        if hasattr(out, "mask"):
            raise TypeError("out: a masked array would keep its mask; give its data, out.data")
        out = np.asarray(out)  # no attribute of a subclass is trusted
        check_result(out, shape, dtype)
        if not out.flags.writeable:
            raise ValueError("out: is read-only")
        arrays = [np.asarray(array) for array in inputs if not is_foreign(array)]
        if any(np.may_share_memory(out, array) for array in arrays):
            raise ValueError("out: overlaps an input in memory")

    def scope(self, array: np.ndarray) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()

    def pool(self, problem: PoolProblem, average: bool, images: np.ndarray, result: np.ndarray) -> bool:
        return pools.pool(problem, average, images, result)

    def largest(self, problem: PoolProblem, images: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        return pools.largest(problem, images)

    def pool_gradient(
        self,
        problem: PoolProblem,
        images: np.ndarray | None,
        gradient: np.ndarray,
        shape: tuple[int, ...],
        dtype: Any,
    ) -> np.ndarray | None:
        return pools.pool_gradient(problem, images, gradient, shape, dtype)

    def elementwise(
        self, operation: str, operands: tuple[np.ndarray, ...], out: Any, parameter: float = 0.0
    ) -> np.ndarray | None:
        return elementwise(operation, operands, out, parameter)

    def bias_add(self, value: np.ndarray, bias: np.ndarray, inner: int, out: Any) -> None:
        return None

    def normalize(
        self, x: np.ndarray, y: Any, dy: Any, radius: int, factors: tuple[float, float, float]
    ) -> np.ndarray | None:
        if radius > _layers.LARGEST_RADIUS:
            return None
        operands: list[Any] = [None if array is None else dense(array, x.dtype) for array in (x, y, dy)]
        result = np.empty(x.shape, x.dtype)
        threads = threads_for((1 if dy is None else 2) * costs.NORMALIZATION_WORK * x.size)
        x, y, dy = operands
        _layers.normalize(x, y, dy, result, radius, *factors, threads)
        return result


BACKEND = NumPyBackend()
