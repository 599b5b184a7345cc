import numpy as np

from fastconv._problem import PoolProblem

LARGEST_RADIUS: int

def apply_epilogue(
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
