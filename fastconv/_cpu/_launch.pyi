from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv._epilogue import EpilogueArguments

def behaved(input: object, filters: object) -> bool: ...
def call_key(
    direction: str,
    operands: tuple[Any, ...],
    spelled: tuple[Any, Any, Any, Any],
    options: tuple[Any, ...],
) -> tuple[Any, ...]: ...

class Launch:
    result_shape: tuple[int, ...]
    dtype: np.dtype
    most_threads: int

    def __init__(
        self,
        result_shape: tuple[int, ...],
        dtype: np.dtype,
        run: Callable[[np.ndarray, np.ndarray, np.ndarray, int, EpilogueArguments | None], object] | None,
        most_threads: int,
        count_threads: Callable[[int], int],
    ) -> None: ...
    def __call__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        out: np.ndarray | None = None,
        inputs: tuple[Any, ...] = (),
        epilogue: EpilogueArguments | None = None,
    ) -> np.ndarray: ...
