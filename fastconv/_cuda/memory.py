"""Arrays that a call on a device makes for itself, and where all of its arrays lie."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import cupy


def on_one_device(*arrays: Any) -> None:
    """Raises if arrays, other than None, are on different devices."""
    numbers = [array.device.id for array in arrays if array is not None]
    for number in numbers:
        if number != numbers[0]:
            raise ValueError(f"arrays are on devices {numbers[0]} and {number}; move them to one")


_captured: list[Any] = []  # memory that kernels in CUDA graphs use, and no caller holds


def keep(*arrays: Any) -> None:
    """Keeps arrays that no caller holds as long as a CUDA graph may be run that has captured the call."""
    if cupy.cuda.get_current_stream().is_capturing():
        _captured.extend(arrays)


def dense(array: Any) -> Any:
    """The array, or a copy, in C order without gaps."""
    if array.flags.c_contiguous:
        return array
    found = cupy.ascontiguousarray(array)
    keep(found)
    return found


def workspace(shape: tuple[int, ...], dtype: Any) -> Any:
    """Memory for a call's own use."""
    found = cupy.empty(shape, dtype)
    keep(found)
    return found


def convert(array: Any, dtype: Any, order: str = "K") -> Any:
    """The array, or a copy beside it, of this dtype; in C order if asked for."""
    if array.dtype == dtype and (order == "K" or array.flags.c_contiguous):
        return array
    with on_device_of(array):
        return array.astype(dtype, order=order)


@contextlib.contextmanager
def on_device_of(array: Any) -> Iterator[None]:
    """Computes where the array lies; what is allocated meanwhile is kept if a CUDA graph captures it."""
    with array.device:
        if not cupy.cuda.get_current_stream().is_capturing():
            yield
            return
        allocate = cupy.cuda.get_allocator()

        def allocate_and_keep(size: int) -> Any:
            found = allocate(size)
            _captured.append(found)
            return found

        with cupy.cuda.using_allocator(allocate_and_keep):
            yield
