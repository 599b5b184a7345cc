"""What the caller meant: every spelling of the arguments, to plain integers and behaved arrays."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Sequence, Sized
from typing import Any

import numpy as np

from fastconv._backend import backend_of, is_array, is_foreign
from fastconv._problem import Padding, Pair

DTYPES = ("float16", "bfloat16", "float32", "float64", "int32")
_LARGEST = 2**31 - 1


def integer(name: str, value: Any) -> int:
    """An integer within int32; floats are truncated and bools taken as integers, as in TensorFlow."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            raise ValueError(f"{name}: {value} is not an integer")
        number = int(value)
    else:
        try:
            number = operator.index(value)
        except TypeError:
            raise TypeError(f"{name}: expected an integer, got {describe(value)}") from None
    if not -_LARGEST - 1 <= number <= _LARGEST:
        raise ValueError(f"{name}: {describe(number)} is out of range for an int32")
    return number


def number(name: str, value: Any) -> float:
    """A floating-point number; NaN and infinities are numbers too."""
    if not isinstance(value, (str, bytes)):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{name}: {describe(value)} is out of range") from None
        except (TypeError, ValueError):
            pass
    raise TypeError(f"{name}: expected a number, got {describe(value)}")


def flag(name: str, value: Any) -> bool:
    """Whether a value is true; a TypeError if that is ambiguous, as for arrays."""
    try:
        return bool(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected True or False, got {describe(value)}") from None


def describe(value: Any) -> str:
    """What was given, in a few words: no array, no long list and no long number is printed whole."""
    if is_array(value) and value.shape:
        return f"{_kind(value)} of shape {value.shape}"
    try:
        words = repr(value)
    except ValueError:  # Python prints no integers of thousands of digits
        return "an integer of thousands of digits"
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}... ({type(value).__name__})"


_LONGEST = 80  # characters of a value that a message prints


def channels_first(data_format: Any) -> bool:
    """Whether the layout is NCHW."""
    if isinstance(data_format, bytes):
        data_format = data_format.decode("ascii", "replace")
    if data_format is None:
        return False
    if not isinstance(data_format, str):
        raise TypeError(f"data_format: expected a string, got {describe(data_format)}")
    if data_format in ("NHWC", "NCHW"):
        return data_format == "NCHW"
    meant = _MEANT.get(data_format, data_format.upper())
    hint = f"; did you mean {meant!r}?" if meant in ("NHWC", "NCHW") else ""
    raise ValueError(f"data_format: {describe(data_format)} is not one of 'NHWC' and 'NCHW'{hint}")


_MEANT = {"channels_last": "NHWC", "channels_first": "NCHW"}  # Keras's words


def spatial(name: str, value: Any, lengths: tuple[int, ...] = (1, 2, 4)) -> tuple[int, ...]:
    """The integers of ``strides`` or ``dilations``: as many as `lengths` allows; None is one 1."""
    if value is None:
        return (1,)
    if isinstance(value, (str, bytes, dict, set)):
        raise TypeError(f"{name}: expected an integer or a list of them, got {describe(value)}")
    if not isinstance(value, Sized) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return (integer(name, value),)
    if len(value) not in lengths:
        allowed = ", ".join(map(str, lengths[:-1])) + f" or {lengths[-1]}"
        raise ValueError(f"{name}: should be of length {allowed}, but {describe(value)} has length {len(value)}")
    return tuple(integer(name, item) for item in value)  # type: ignore[attr-defined]


def height_width(name: str, values: tuple[int, ...], first: bool) -> Pair:
    """The two entries that count, checked."""
    if len(values) == 4:
        n, c, h, w = values if first else (values[0], values[3], *values[1:3])
        if n != 1 or c != 1:
            raise NotImplementedError(
                f"{name}: {list(values)} has an entry other than 1 in the batch and depth dimensions"
            )
    else:
        h, w = values * (3 - len(values))
    if h < 1 or w < 1:
        raise ValueError(f"{name}: {list(values)}: entries should be larger than 0")
    return h, w


def explicit_padding(padding: Any) -> tuple[Pair, ...] | str:
    """'SAME', 'VALID', or four pairs in the order of the data format."""
    return padding_pairs("padding", padding, 4)


_COUNTS = {3: "three", 4: "four", 5: "five"}


def padding_pairs(name: str, padding: Any, count: int) -> tuple[Pair, ...] | str:
    """'SAME', 'VALID', or a pair of sizes for each of so many dimensions."""
    if isinstance(padding, bytes):
        padding = padding.decode("ascii", "replace")
    pairs_of = f"a list of {_COUNTS[count]} pairs"
    if isinstance(padding, str):
        if padding == "EXPLICIT":
            raise ValueError(f"{name}: 'EXPLICIT' is not a value; give {pairs_of} itself".replace("a list", "the list"))
        if padding not in ("SAME", "VALID"):
            meant = f"; did you mean {padding.upper()!r}?" if padding.upper() in ("SAME", "VALID") else ""
            raise ValueError(f"{name}: {padding!r} is not one of 'SAME' and 'VALID', nor {pairs_of}{meant}")
        return padding
    if isinstance(padding, np.ndarray) and padding.ndim and padding.dtype.kind in "iu":
        padding = padding.tolist()
    if not isinstance(padding, (list, tuple)):
        raise TypeError(f"{name}: expected 'SAME', 'VALID' or {pairs_of}, got {describe(padding)}")
    if len(padding) != count or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in padding):
        example = [[0, 0], *[[1, 1]] * (count - 2), [0, 0]]
        raise ValueError(f"{name}: {describe(padding)} is not {pairs_of}, such as {example}")
    pairs = tuple((integer(name, before), integer(name, after)) for before, after in padding)
    if any(cells < 0 for pair in pairs for cells in pair):
        raise ValueError(f"{name}: {describe(padding)}: entries must be nonnegative")
    return pairs


def image_padding(pairs: tuple[Pair, ...] | str, first: bool) -> Padding:
    """The padding of the two spatial axes, checked."""
    if isinstance(pairs, str):
        return pairs
    n, c, rows, columns = pairs if first else (pairs[0], pairs[3], *pairs[1:3])
    if n != (0, 0) or c != (0, 0):
        raise ValueError(f"padding: {list(pairs)} pads the batch or depth dimensions")
    return rows, columns


def geometry(strides: Any, padding: Any, data_format: Any, dilations: Any) -> tuple[Pair, Padding, Pair, bool]:
    """Strides, padding, dilations and whether channels come first; errors in TensorFlow's order."""
    pairs = explicit_padding(padding)
    stride_values = spatial("strides", strides)
    dilation_values = spatial("dilations", dilations)
    first = channels_first(data_format)
    return (
        height_width("strides", stride_values, first),
        image_padding(pairs, first),
        height_width("dilations", dilation_values, first),
        first,
    )


def _is_python(value: Any) -> bool:
    """Whether a nested list holds Python's own numbers, which have no width, and not NumPy's."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, (list, tuple, int, float)) and not isinstance(value, np.generic)


def as_array(name: str, value: Any) -> np.ndarray:
    """What was given as a plain array of numbers in native byte order; CuPy's are left as they are.

    Raises
    ------
    TypeError, ValueError
        If it cannot be made one, or only with a loss that the caller may not expect.
    """
    if is_foreign(value):
        return value  # type: ignore[no-any-return]
    array = value if type(value) is np.ndarray else _made_array(name, value)
    if array.dtype == object and not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: expected an array of numbers, got {describe(value)}")
    if array.dtype.kind in "OUSVmM" and not array.dtype.name.startswith(("bfloat", "float")):
        words = f"expected an array of numbers, got dtype {array.dtype.name} from {describe(value)}"
        raise TypeError(f"{name}: {words}; convert it with astype")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _made_array(name: str, value: Any) -> np.ndarray:
    kind = type(value)
    if value is None:
        raise TypeError(f"{name}: expected an array, got None")
    if isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(
            f"{name}: expected an array, got {describe(value)}; read the file first, for example with"
            " numpy.asarray(PIL.Image.open(path))"
        )
    listed = value if isinstance(value, (list, tuple)) else (value,)
    if any(isinstance(item, np.ndarray) and hasattr(item, "mask") for item in listed):
        raise TypeError(f"{name}: a masked array would lose its mask; fill it first, for example with filled(0)")
    if hasattr(kind, "__dask_graph__"):
        raise TypeError(
            f"{name}: a {kind.__module__}.{kind.__name__} would be computed whole; call compute() first, or apply this"
            " function to its blocks with map_blocks or map_overlap"
        )
    if hasattr(kind, "__dlpack__") and not (hasattr(kind, "__array__") or hasattr(kind, "__array_interface__")):
        raise TypeError(f"{name}: {kind.__name__} has __dlpack__ alone; pass numpy.from_dlpack of it")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: cannot be made an array: {error}") from None
    except (TypeError, RuntimeError) as error:
        if not kind.__module__.startswith("torch"):
            raise  # the caller's own object says why
        raise TypeError(f"{name}: this {kind.__name__} cannot be made an array: {error}") from None


def array_of(name: str, value: Any) -> np.ndarray:
    """The array of an operand whose dtype decides."""
    array = as_array(name, value)
    return _narrowed(name, array) if _is_python(value) else array


def _narrowed(name: str, array: np.ndarray) -> np.ndarray:
    """Python's own numbers as TensorFlow takes them: float32, or int32 if they fit."""
    if array.dtype == np.float64:
        return to_dtype(array, np.dtype(np.float32))
    if array.dtype.kind not in "iu":
        return array
    limits = np.iinfo(np.int32)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise ValueError(f"{name}: an integer in it is out of range for an int32")
    return array.astype(np.int32)


def arithmetic(dtype: Any) -> Any:
    """The dtype that floating elements are computed in: float64 for itself, float32 for all others."""
    return np.float64 if dtype == np.float64 else np.float32


def is_real(dtype: np.dtype) -> bool:
    return dtype.kind in "fiub" or dtype.name.startswith(("bfloat", "float"))


def operands(first: Any, second: Any, names: tuple[str, str] = ("input", "filters")) -> tuple[np.ndarray, np.ndarray]:
    """Both operands as arrays, for ``tensors`` once their shapes were found to fit: casts and copies may be large.

    Raises
    ------
    TypeError
        If the first one's dtype is not supported, or the second cannot be cast to it.
    """
    a = array_of(names[0], first)
    if a.dtype.name not in DTYPES:
        shapes = f"{names[0]} shape {a.shape}, {names[1]} shape {as_array(names[1], second).shape}"
        raise TypeError(
            f"{names[0]}: dtype {a.dtype} is not one of {', '.join(DTYPES)}; convert it with astype ({shapes})"
        )
    return a, castable(names[1], second, names[0], a)


def tensors(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Operands as behaved arrays of the first one's dtype."""
    backend = backend_of(first)
    return backend.behaved(first), backend.behaved(to_dtype(second, first.dtype))


def dense(array: np.ndarray, dtype: Any = None) -> np.ndarray:
    """A NumPy array in C order, aligned, of this dtype if one is given; of any number of dimensions, none included."""
    with np.errstate(all="ignore"):
        found = np.asarray(array, dtype, order="C")
    return found if found.flags.aligned else found.copy()


def _kind(value: Any) -> str:
    """What something is, for a message."""
    return f"a {backend_of(value).name} array" if is_array(value) else type(value).__name__


def array_beside(name: str, value: Any, other: str, like: np.ndarray) -> np.ndarray:
    """The value as an array where the operand `other` is: CuPy's beside CuPy's, to which lists are moved.

    Raises
    ------
    TypeError
        If one of them is a NumPy array, and the other one CuPy's.
    """
    found, backend = as_array(name, value), backend_of(like)
    if backend_of(found) is backend:
        return found
    if is_array(value):
        raise TypeError(
            f"{name}: expected {_kind(like)}, as {other} is, got {_kind(value)}; move it with {backend.move}"
            f" ({other} shape {like.shape}, {name} shape {found.shape})"
        )
    return backend.adopt(found, like)  # type: ignore[no-any-return]


def cast(name: str, value: Any, other: str, like: np.ndarray) -> np.ndarray:
    """The value as an array of the dtype of `like`, the operand `other`, as TensorFlow casts NumPy arrays.

    Raises
    ------
    TypeError
        If the dtypes do not go together.
    """
    return to_dtype(castable(name, value, other, like), like.dtype)


def to_dtype(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in a dtype, of native byte order; what is of it already is no copy."""
    target = dtype.newbyteorder("=")
    if array.dtype == target:
        return array
    with np.errstate(all="ignore"):  # what does not fit becomes infinite, or wraps
        return backend_of(array).convert(array, target)  # type: ignore[no-any-return]


def castable(name: str, value: Any, other: str, like: np.ndarray) -> np.ndarray:
    """The value as an array that can be cast to the dtype of `like`."""
    array, target = array_beside(name, value, other, like), like.dtype.newbyteorder("=")
    if array.dtype == target:
        return array
    if not is_real(array.dtype) or (target == np.int32 and array.dtype.kind not in "iub"):
        raise TypeError(
            f"{name}: dtype {array.dtype} does not go with {other} of dtype {like.dtype}; convert it with astype"
            f" ({other} shape {like.shape}, {name} shape {array.shape})"
        )
    if target == np.int32 and _is_python(value):
        return _narrowed(name, array)
    return array


def check_output(out: Any, like: Any, shape: tuple[int, ...], dtype: np.dtype, inputs: tuple[Any, ...]) -> None:
    """Raises unless a result of this shape and dtype may be written to ``out``, an array of the library of `like`."""
    backend = backend_of(like)
    if not is_array(out) or backend_of(out) is not backend:
        raise TypeError(f"out: expected a {backend.name} array, got {_kind(out)}")
    # The caller's own arrays, not the copies that are read of some.
    backend.check_out(out, shape, dtype, tuple([getattr(array, "array", array) for array in inputs]))


def check_result(out: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raises unless an array has the shape and the dtype of a result, in C order and aligned."""
    if out.shape != shape:
        raise ValueError(f"out: has shape {out.shape}, but the result has shape {shape}")
    if out.dtype != dtype or not out.dtype.isnative:
        order = "" if out.dtype.isnative else " in the other byte order"
        raise TypeError(f"out: has dtype {out.dtype.name}{order}, but the result has dtype {dtype.name}")
    if not (out.flags.c_contiguous and getattr(out.flags, "aligned", True)):  # CuPy's arrays are aligned
        raise ValueError("out: must be C-contiguous and aligned")


def shape_of(name: str, value: Any) -> tuple[int, ...]:
    """A shape: a sequence of integers, none negative."""
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)):
        raise TypeError(f"{name}: expected a sequence of integers, got {describe(value)}")
    try:
        sizes = tuple([operator.index(size) for size in value])
    except TypeError:
        hint = "; did you mean its shape?" if is_array(value) and np.ndim(value) > 1 else ""
        raise TypeError(f"{name}: expected a sequence of integers, got {describe(value)}{hint}") from None
    if min(sizes, default=0) < 0:
        raise ValueError(f"{name}: {describe(sizes)} has a negative entry")
    if max(sizes, default=0) >= 1 << 63:
        raise ValueError(f"{name}: {describe(sizes)} has an entry that is out of range")
    return sizes


def image_sizes(name: str, value: Any, batch: int, depth: int, first: bool) -> tuple[int, ...]:
    """Four sizes in the order of the data format, or (height, width), which the batch and the depth complete."""
    sizes = shape_of(name, value)
    if len(sizes) == 2:
        return (batch, depth, *sizes) if first else (batch, *sizes, depth)
    if len(sizes) != 4:
        raise ValueError(f"{name}: should hold 4 sizes, or height and width, but {sizes} has {len(sizes)}")
    return sizes
