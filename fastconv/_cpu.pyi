from typing import Any, final

import numpy as np

from fastconv._problem import ConvProblem

def use_instruction_set(wanted: str) -> None: ...
def instruction_sets() -> dict[str, bool]: ...
def instruction_set() -> str: ...
def build() -> dict[str, Any]: ...
def behaved(input: object, filters: object) -> bool: ...

@final
class Forward:
    def __init__(
        self,
        problem: ConvProblem,
        sum: tuple[bool, int, int, int, int],
        dtype: str,
        channels_first: bool,
        one_row: bool = ...,
        along_rows: bool = ...,
    ) -> None: ...
    def run(self, x: np.ndarray, w: np.ndarray, y: np.ndarray, threads: int) -> None: ...
