"""What follows the sums of a convolution: a bias for each channel, and an activation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv._arguments import castable, describe, to_dtype
from fastconv._backend import backend_of
from fastconv._types import accumulator

# The activations that sums may end with, in the order of the enums in src/kernels/epilogue.h and _cuda/epilogue.cuh.
ACTIVATIONS = ("relu", "relu6", "leaky_relu", "silu", "hard_swish", "sigmoid", "tanh")


class EpilogueArguments(NamedTuple):
    """What a call brings beside its tensors: packed filters to use and add to, a bias, and an activation."""

    packings: dict[Any, Any] | None = None
    bias: np.ndarray | None = None  # of the arithmetic type, contiguous
    activation: str | None = None


def epilogue_arguments(
    packings: dict[Any, Any] | None, bias: Any, activation: Any, like: tuple[str, np.ndarray], channels: int
) -> EpilogueArguments | None:
    """The arguments of a call's epilogue, checked; None if it has no epilogue.

    `like` is the name and value of the operand whose dtype decides.
    """
    if packings is None and bias is None and activation is None:
        return None
    name, x = like
    if activation is not None:
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            raise ValueError(f"activation: {describe(activation)} is not one of {', '.join(map(repr, ACTIVATIONS))}")
        if x.dtype == np.int32 and activation not in ("relu", "relu6"):
            raise TypeError(f"activation: {activation!r} needs a floating dtype, but {name} has dtype int32")
    if bias is not None:
        bias = castable("bias", bias, name, x)
        if bias.shape != (channels,):
            if bias.size != channels or max(bias.shape, default=0) != channels:
                raise ValueError(
                    f"bias: should have shape ({channels},), one for each output channel, but has {bias.shape}"
                )
            bias = bias.reshape(channels)  # of (1, 1, 1, F), say
        bias = to_dtype(bias, x.dtype)
        bias = backend_of(bias).dense(bias, accumulator(x.dtype))
    return EpilogueArguments(packings, bias, activation)
