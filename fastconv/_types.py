"""Types: those of public functions' arguments, by which type checkers refuse what calls would, and of sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, SupportsIndex, TypeAlias

import numpy as np

IntsLike: TypeAlias = "SupportsIndex | Sequence[SupportsIndex] | np.ndarray"
PaddingLike: TypeAlias = "Literal['SAME', 'VALID'] | Sequence[Sequence[SupportsIndex]] | np.ndarray"
PaddingName: TypeAlias = Literal["SAME", "VALID"]
RowFormat: TypeAlias = Literal["NWC", "NCW"]
ImageFormat: TypeAlias = Literal["NHWC", "NCHW"]
DataFormat: TypeAlias = Literal["NWC", "NCW", "NHWC", "NCHW", "NDHWC", "NCDHW"]
Activation: TypeAlias = Literal["relu", "relu6", "leaky_relu", "hard_swish", "silu", "sigmoid", "tanh"]
Precision: TypeAlias = Literal["default", "fast", "strict"]
Border: TypeAlias = Literal["reflect", "edge", "zero"]


def is_half(dtype: np.dtype) -> bool:
    """Whether it is float16 or bfloat16, among the dtypes that are computed."""
    return dtype.itemsize == 2


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which sums of elements of this one are formed; src/base/dtype.h says the same to C."""
    return np.dtype(np.float32) if is_half(dtype) else dtype
