"""Functions of single elements of CuPy arrays, and epilogues of whole tensors, in one pass over memory."""

from __future__ import annotations

import functools
from typing import Any

import cupy
import numpy as np

from fastconv._cuda import planner
from fastconv._cuda.launch import ACTIVATIONS, NOTHING, Launch, pack, prepare_launch
from fastconv._cuda.memory import convert, dense, on_one_device, workspace
from fastconv._types import accumulator

# In the order of their enum in pointwise.cu.
OPERATIONS = (
    "epilogue",
    "leaky_relu",
    "elu",
    "silu",
    "gelu",
    "gelu_tanh",
    "relu_grad",
    "leaky_relu_grad",
    "elu_grad",
    "silu_grad",
    "gelu_grad",
    "gelu_tanh_grad",
)

# struct Pointwise in pointwise.cu, field for field.
POINTWISE = np.dtype(
    [(name, np.int64) for name in ("count", "inner", "channels")]
    + [("parameter", np.float64)]
    + [(name, np.int32) for name in ("operation", "activation", "wide", "unused")]
)


@functools.lru_cache(maxsize=1024)
def _launch(element: str, number: int, count: int, wide: bool, fields: tuple[tuple[str, Any], ...]) -> Launch:
    """For so many elements on the device with this number; `wide`: 16 bytes at a time."""
    kernel = planner.pointwise(element)
    threads = -(-count // planner.run(element)) if wide else count
    arguments = pack(POINTWISE, **{"count": count, "inner": 1, "channels": 1, "wide": wide, **dict(fields)})
    return prepare_launch(kernel, number, (-(-threads // kernel.threads), 1, 1), arguments)


def _launched(result: Any, first: Any, second: Any = None, bias: Any = NOTHING, **fields: Any) -> None:
    """Fills a dense result, of the same shape and dtype as the dense operands."""
    if result.size:
        arrays = [array for array in (first, second, result) if array is not None]
        wide = not any(array.data.ptr % planner.COPY for array in arrays)
        launch = _launch(result.dtype.name, result.device.id, result.size, wide, tuple(fields.items()))
        operands = [NOTHING if array is None else array for array in (first, second)]
        launch.run(*operands, result, bias)


def apply_epilogue(source: Any, result: Any, bias: Any, channels: int, activation: str | None, inner: int = 1) -> None:
    """Writes the source, or zeros where it is None, with the bias (or a null pointer) and the activation.

    Channels, of so many elements each, follow one another.
    """
    _launched(result, source, None, bias, channels=channels, inner=inner, activation=ACTIVATIONS.index(activation))


def compute(operation: str, operands: tuple[Any, ...], out: Any, parameter: float = 0.0) -> Any:
    """The operation, or one of ACTIVATIONS, on each element, in `out` if that is given, which may overlap operands.

    Whether the result may be written to `out` is the caller's to check, but for the device.
    """
    first, fields = operands[0], {"operation": 0, "parameter": parameter}
    if operation in OPERATIONS:
        fields["operation"] = OPERATIONS.index(operation)
    else:
        fields["activation"] = ACTIVATIONS.index(operation)
    on_one_device(*operands)
    with cupy.cuda.Device(first.device.id):
        if out is not None:
            on_one_device(first, out)
        read = [dense(array) for array in operands]
        result = out
        if out is None:
            result = cupy.empty(first.shape, first.dtype)
        elif any(array is not out and cupy.may_share_memory(array, out) for array in read):
            result = workspace(first.shape, first.dtype)
        _launched(result, *read, **fields)
        if out is not None and result is not out:
            out[...] = result
    return result if out is None else out


def add_bias(value: Any, bias: Any, inner: int, out: Any) -> Any:
    """The sum of each element and its channel's bias, of which there is one for `inner` elements in turn."""
    on_one_device(value, bias)
    with cupy.cuda.Device(value.device.id):
        if out is None:
            out = cupy.empty(value.shape, value.dtype)
        wide = convert(bias, accumulator(value.dtype), "C")
        apply_epilogue(dense(value), out, wide, bias.size, None, inner)
    return out
