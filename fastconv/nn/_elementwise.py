"""What functions of single elements need: their operands, and results in the operands' dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import array_of, as_array, castable, check_output, is_real, number, to_dtype
from fastconv._backend import backend_of, is_foreign


def floating(name: str, value: ArrayLike) -> np.ndarray:
    array = array_of(name, value)
    if array.dtype.kind not in "fV" and not array.dtype.name.startswith(("bfloat", "float")):
        raise TypeError(f"{name}: dtype {array.dtype} is not a floating one; convert it with astype")
    return array


def real(name: str, value: ArrayLike) -> np.ndarray:
    """An array of integers, bools or floating-point numbers."""
    array = array_of(name, value)
    if not is_real(array.dtype):
        raise TypeError(f"{name}: dtype {array.dtype} is not a real one; convert it with astype (shape {array.shape})")
    return array


def same_shape(names: tuple[str, str], first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of one shape, the second cast to the first one's dtype."""
    a = real(names[0], first)
    b = castable(names[1], second, names[0], a)
    if a.shape != b.shape:
        raise ValueError(f"{names[1]}: has shape {b.shape}, but {names[0]} has shape {a.shape}")
    return a, to_dtype(b, a.dtype)


def narrow(array: np.ndarray, result: Any) -> np.ndarray:
    """The result in the array's dtype: what NumPy widened is narrowed again."""
    return as_array("", result).astype(array.dtype, copy=False)


def check_place(out: np.ndarray | None, like: np.ndarray) -> None:
    """Raises, before the work, unless a result of this shape and dtype may be written to `out`, maybe an operand."""
    if out is not None:
        check_output(out, like, like.shape, like.dtype, ())


def store(result: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """The result, in `out` if that is given."""
    if out is None:
        return result
    # A foreign result's device must be the same.
    check_output(out, result, result.shape, result.dtype, (result,) if is_foreign(result) else ())
    out[...] = result
    return out


def compute(operation: str, out: np.ndarray | None, *operands: np.ndarray, parameter: float = 0.0) -> np.ndarray | None:
    """The operation by a kernel of the operands' backend, in `out`, which may overlap them; None if there is none."""
    first = operands[0]
    check_place(out, first)
    return backend_of(first).elementwise(operation, operands, out, parameter)


def slope_of(array: np.ndarray, alpha: float | None) -> Any:
    """The slope of ``leaky_relu`` in the array's dtype; TensorFlow takes None for 0.2."""
    with np.errstate(all="ignore"):
        return array.dtype.type(0.2 if alpha is None else number("alpha", alpha))
