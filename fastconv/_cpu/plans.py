"""Plans for NumPy arrays."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fastconv._arguments import check_output
from fastconv._cpu import _core, _launch
from fastconv._cpu.elementwise import apply_epilogue
from fastconv._cpu.implementations import Run, choose
from fastconv._epilogue import EpilogueArguments
from fastconv._options import current
from fastconv._plan import VERBOSE, Choice, tell
from fastconv._problem import ConvProblem
from fastconv._threads import most_threads, threads_up_to


def _of_columns(run: Run, direction: str, channels_first: bool) -> Run:
    """What runs a problem of rows, given images and filters of columns, which would be up to 100 times as slow."""
    image, filters = ((0, 1, 3, 2) if channels_first else (0, 2, 1, 3)), (1, 0, 2, 3)
    axes = {
        "forward": (image, filters, image),
        "backprop_input": (filters, image, image),
        "backprop_filter": (image, image, filters),
    }[direction]

    def run_rows(
        a: np.ndarray, b: np.ndarray, result: np.ndarray, threads: int, epilogue: EpilogueArguments | None
    ) -> None:
        a, b, result = (array.transpose(moved) for array, moved in zip((a, b, result), axes))
        run(a, b, result, threads, epilogue)

    return run_rows


class CpuPlan(_launch.Launch):
    """One problem in one direction, dtype and layout, for NumPy arrays; ``_launch.Launch`` makes its calls."""

    __slots__ = ("channels_first", "choice", "direction", "problem", "sums")

    def __init__(
        self,
        direction: str,
        problem: ConvProblem,
        result_shape: tuple[int, ...],
        dtype: np.dtype,
        channels_first: bool,
    ) -> None:
        self.direction = direction
        self.problem = problem
        self.channels_first = channels_first
        self.choice: Choice | None = None  # both are None where there is nothing to sum
        self.sums: Run | None = None
        if not (problem.output_is_empty or problem.input_is_empty or problem.filter_is_empty):
            options = current.get()
            row_problem = problem.as_row() if problem.is_column else problem
            self.choice = choose(direction, row_problem, dtype, options)
            bind = self.choice.implementation.bind
            self.sums = bind(row_problem, dtype, channels_first, options, self.choice.configuration)
            if problem.is_column:
                self.sums = _of_columns(self.sums, direction, channels_first)
        worth = most_threads(problem.multiply_adds)
        usual = len(result_shape) == 4 and not VERBOSE
        super().__init__(result_shape, dtype, self.sums if usual else None, worth, threads_up_to)

    def check(self, out: Any, inputs: tuple[Any, ...]) -> None:
        """Raises unless the result may be written to `out`."""
        check_output(out, inputs[0], self.result_shape, self.dtype, inputs)

    def run_otherwise(
        self, a: np.ndarray, b: np.ndarray, result: np.ndarray, epilogue: EpilogueArguments | None
    ) -> None:
        """A call that is not the common case."""
        if self.sums is None:
            result.fill(0)
            if epilogue is not None:
                apply_epilogue(result, self.channels_first, epilogue)
        elif result.ndim == 4:
            self._run(a, b, result, epilogue)
        else:
            self._run_batches(a, b, result, epilogue)

    def _run(self, a: np.ndarray, b: np.ndarray, result: np.ndarray, epilogue: EpilogueArguments | None) -> None:
        assert self.sums is not None
        threads = threads_up_to(self.most_threads)
        start = time.perf_counter()
        self.sums(a, b, result, threads, epilogue)
        if VERBOSE:
            tell(self, f"{_core.instruction_set()} {threads} threads", 1e3 * (time.perf_counter() - start))

    def _run_batches(self, x: np.ndarray, w: np.ndarray, y: np.ndarray, epilogue: EpilogueArguments | None) -> None:
        """Several batch dimensions as one; one after the other where that would take a copy of the input."""
        steps = zip(x.strides[:-4], x.strides[1:-3], x.shape[1:-3])
        if x.ndim == 4 or all(outer == inner * size for outer, inner, size in steps):
            self._run(x.reshape(-1, *x.shape[-3:]), w, y.reshape(-1, *y.shape[-3:]), epilogue)
        else:
            for images, results in zip(x, y):
                self._run_batches(images, w, results, epilogue)
