"""Types of public functions' arguments: type checkers refuse what calls would refuse."""

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
