from collections.abc import Callable
from typing import Any, final

import numpy as np

from fastconv._cpu.summation import PixelSum, Summation
from fastconv._cpu.winograd import Rung
from fastconv._epilogue import Extras
from fastconv._parts import Part
from fastconv._problem import ConvProblem, PoolProblem

def use_instruction_set(wanted: str) -> None: ...
def instruction_sets() -> dict[str, bool]: ...
def instruction_set() -> str: ...
def build() -> dict[str, Any]: ...
def scratch_bytes() -> int: ...
def processors() -> int: ...
def thread_limit() -> int: ...
def behaved(input: object, filters: object) -> bool: ...
def call_key(
    direction: str,
    operands: tuple[Any, ...],
    spelled: tuple[Any, Any, Any, Any],
    options: tuple[Any, ...],
) -> tuple[Any, ...]: ...
def finish(
    source: np.ndarray,
    result: np.ndarray,
    columns: int,
    bias_of_rows: bool,
    dtype: str,
    bias: np.ndarray | None,
    activation: str | None,
    threads: int,
    slope: float = 0.2,
) -> None: ...
def pool(
    average: bool,
    x: np.ndarray | None,
    y: np.ndarray | None,
    dy: np.ndarray | None,
    dx: np.ndarray | None,
    shape: tuple[int, ...],
    windows: PoolProblem,
    threads: int,
    places: np.ndarray | None = None,
) -> None: ...
def normalize(
    x: np.ndarray,
    y: np.ndarray | None,
    dy: np.ndarray | None,
    result: np.ndarray,
    radius: int,
    bias: float,
    alpha: float,
    beta: float,
    threads: int,
) -> None: ...
def activation_grad(
    activation: str,
    parameter: float,
    dy: np.ndarray,
    x: np.ndarray,
    dx: np.ndarray,
    dtype: str,
    threads: int,
) -> None: ...

WINOGRAD_TAPS: int
WINOGRAD_RANGE: int
IMAGE_LANES: int

class Launch:
    result_shape: tuple[int, ...]
    dtype: np.dtype
    most_threads: int

    def __init__(
        self,
        result_shape: tuple[int, ...],
        dtype: np.dtype,
        run: Callable[[np.ndarray, np.ndarray, np.ndarray, int, Extras | None], object] | None,
        most_threads: int,
        count_threads: Callable[[int], int],
    ) -> None: ...
    def __call__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        out: np.ndarray | None = None,
        inputs: tuple[Any, ...] = (),
        extras: Extras | None = None,
    ) -> np.ndarray: ...

@final
class Forward:
    def __init__(
        self,
        problem: ConvProblem,
        dtype: str,
        channels_first: bool,
        sum: Summation,
        one_row: bool,
        method: str,
        rung: Rung | None,
    ) -> None: ...
    def run(self, x: np.ndarray, w: np.ndarray, y: np.ndarray, threads: int, extras: Extras | None) -> None: ...

@final
class Parts:
    def __init__(
        self,
        problem: ConvProblem,
        parts: list[tuple[Part, Summation, bool, str, Rung | None]],
        complete: bool,
        gradient: bool,
        dtype: str,
        channels_first: bool,
    ) -> None: ...
    def run(self, a: np.ndarray, b: np.ndarray, result: np.ndarray, threads: int, extras: Extras | None) -> None: ...

@final
class BackpropFilter:
    def __init__(
        self,
        problem: ConvProblem,
        sum: Summation,
        pixels: PixelSum,
        method: str,
        rung: Rung | None,
        dtype: str,
        channels_first: bool,
    ) -> None: ...
    def run(self, x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, extras: Extras | None) -> str | None: ...
