"""Functions of single elements of NumPy arrays, and epilogues of whole tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._arguments import DTYPES, dense
from fastconv._cpu import _layers
from fastconv._cpu import cost_model as costs
from fastconv._epilogue import EpilogueArguments
from fastconv._threads import threads_for

# Operations that have a kernel, the first ones for int32, too. NumPy computes the others as fast.
_OF_INTEGERS = frozenset(("relu", "relu6"))
_ACTIVATIONS = _OF_INTEGERS | {"leaky_relu", "gelu", "gelu_tanh"}
_GRADIENTS = frozenset(("relu_grad", "silu_grad", "gelu_grad", "gelu_tanh_grad"))


def apply_epilogue(array: np.ndarray, channels_first: bool, epilogue: EpilogueArguments) -> None:
    """Applies the epilogue to a whole tensor, in place: C-contiguous, (..., C) or (..., C, H, W)."""
    if array.size and (epilogue.bias is not None or epilogue.activation is not None):
        columns = array.shape[-1]
        if channels_first:
            columns *= array.shape[-2]
        threads = threads_for(costs.ELEMENTWISE_WORK * array.size)
        _layers.apply_epilogue(
            array, array, columns, channels_first, array.dtype.name, epilogue.bias, epilogue.activation, threads
        )


def elementwise(
    operation: str, operands: tuple[np.ndarray, ...], out: np.ndarray | None, parameter: float
) -> np.ndarray | None:
    """An activation or its gradient, as ``Backend.elementwise`` says."""
    first = operands[0]
    name, is_gradient = first.dtype.name, operation in _GRADIENTS
    if name not in DTYPES or not (is_gradient or operation in _ACTIVATIONS):
        return None
    if name == "int32" and operation not in _OF_INTEGERS:
        return None
    result = np.empty(first.shape, first.dtype) if out is None else out
    read = [dense(array.copy() if _overlaps(array, out) else array) for array in operands]
    if first.size:
        written: Any = np.asarray(result)  # no attribute of a subclass is trusted
        threads = threads_for(costs.ELEMENTWISE_WORK * first.size)
        if is_gradient:
            dy, x = read
            _layers.activation_grad(operation.removesuffix("_grad"), parameter, dy, x, written, name, threads)
        else:
            (source,) = read
            _layers.apply_epilogue(source, written, source.size, False, name, None, operation, threads, parameter)
    return result


def _overlaps(array: np.ndarray, out: np.ndarray | None) -> bool:
    """Whether the array would change while it is read: it shares memory with `out`, and is not `out` itself."""
    return out is not None and array is not out and np.may_share_memory(array, out)
