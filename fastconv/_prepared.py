"""Prepared filters: a bank that keeps what calls have packed of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastconv._arguments import DTYPES, array_of
from fastconv._backend import is_foreign, on_its_device


class PreparedFilters:
    """Filters that keep the layouts that calls have packed them into; made by ``fastconv.prepare``.

    They are accepted wherever filters are, for input of their dtype, and give the same bits. They hold a
    read-only copy of the filters, to which ``numpy.asarray`` gives access, and pickle as that plain array.
    Those of CuPy arrays hold a copy on the device.
    Several threads may use them at once.

    Attributes
    ----------
    shape, dtype, ndim
        Those of the array.
    nbytes : int
        Bytes of the array and of everything packed so far.
    """

    __slots__ = ("__weakref__", "array", "packings")

    def __init__(self, array: np.ndarray, packings: dict[Any, Any] | None = None) -> None:
        self.array = array
        self.packings: dict[Any, Any] = {} if packings is None else packings

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def nbytes(self) -> int:
        return int(self.array.nbytes + sum(packing.nbytes for packing in list(self.packings.values())))

    def reshape(self, shape: tuple[int, ...]) -> PreparedFilters:
        """The same filters in another shape, with packings in common."""
        return PreparedFilters(self.array.reshape(shape), self.packings)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        return f"PreparedFilters(shape={self.shape}, dtype={self.dtype})"

    def __reduce__(self) -> Any:
        return self.array.copy().__reduce__()


@on_its_device
def prepare(filters: ArrayLike, dtype: DTypeLike | None = None) -> PreparedFilters:
    """Filters for many calls: each layout that a call needs is packed once, when it is first used.

    Parameters
    ----------
    filters : array_like
        Filters as any function of ``fastconv.nn`` takes them. They are copied: later changes to them
        have no effect.
    dtype : data-type, optional
        That of the input to come; by default the dtype of `filters`.

    Returns
    -------
    PreparedFilters
        Accepted wherever filters are, for input of that dtype; the bits of the results are the same.

    Raises
    ------
    TypeError
        If the dtype is not one that ``conv2d`` takes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> image = np.ones((1, 4, 4, 1), np.float32)
    >>> box = fastconv.prepare(np.ones((3, 3, 1, 1)), dtype=np.float32)
    >>> fastconv.nn.conv2d(image, box, strides=1, padding="VALID")[0, :, :, 0]
    array([[9., 9.],
           [9., 9.]], dtype=float32)
    """
    array = array_of("filters", filters)
    wanted = np.dtype(dtype) if dtype is not None else array.dtype
    if wanted.name not in DTYPES:
        raise TypeError(f"filters: dtype {wanted} is not one of {', '.join(DTYPES)} (shape {array.shape})")
    copy = array.astype(wanted.newbyteorder("="), order="C", copy=True)
    if not is_foreign(copy):
        copy.flags.writeable = False
    return PreparedFilters(copy)


def check_fits(name: str, filters: Any, other: tuple[str, Any]) -> None:
    """Raises if prepared filters would have to be cast to the dtype of `other`, the name and value of an operand.

    Raises
    ------
    TypeError
        If it has another dtype.
    """
    if type(filters) is not PreparedFilters:
        return
    dtype = array_of(*other).dtype
    if dtype.newbyteorder("=") != filters.dtype:
        raise TypeError(
            f"{name}: prepared for dtype {filters.dtype}, but {other[0]} has dtype {dtype}; prepare them with"
            f" dtype={dtype.name!r} ({other[0]} shape {np.shape(other[1])}, {name} shape {filters.shape})"
        )
