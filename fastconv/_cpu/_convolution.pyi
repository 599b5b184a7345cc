from typing import final

import numpy as np

from fastconv._cpu.summation import PixelSum, Summation
from fastconv._cpu.winograd import WinogradTile
from fastconv._epilogue import EpilogueArguments
from fastconv._parts import Part
from fastconv._problem import ConvProblem

@final
class Convolution:
    def __init__(
        self,
        problem: ConvProblem,
        parts: list[tuple[Part, Summation, str, WinogradTile | None]],
        complete: bool,
        gradient: bool,
        dtype: str,
        channels_first: bool,
    ) -> None: ...
    def run(
        self, a: np.ndarray, b: np.ndarray, result: np.ndarray, threads: int, epilogue: EpilogueArguments | None
    ) -> None: ...

@final
class BackpropFilter:
    def __init__(
        self,
        problem: ConvProblem,
        sum: Summation,
        pixels: PixelSum,
        method: str,
        winograd_tile: WinogradTile | None,
        dtype: str,
        channels_first: bool,
    ) -> None: ...
    def run(
        self, x: np.ndarray, dy: np.ndarray, dw: np.ndarray, threads: int, epilogue: EpilogueArguments | None
    ) -> str | None: ...
