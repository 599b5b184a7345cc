"""Whose arrays a call was given: NumPy's, or CuPy's, which is never imported here."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def is_on_device(value: Any) -> bool:
    """Whether it is a CuPy array."""
    kind = getattr(sys.modules.get("cupy"), "ndarray", None)
    return kind is not None and isinstance(value, kind)


def are_on_device(first: Any, second: Any) -> bool:
    """Whether both are CuPy arrays, of one dtype."""
    kind = getattr(sys.modules.get("cupy"), "ndarray", None)
    return kind is not None and type(first) is kind and type(second) is kind and first.dtype == second.dtype


def is_array(value: Any) -> bool:
    """Whether it is an array of either kind."""
    return isinstance(value, np.ndarray) or is_on_device(value)


def moved(array: np.ndarray, like: Any) -> np.ndarray:
    """The array where `like` is: what a list held is moved to its device."""
    if is_on_device(like) and not is_on_device(array):
        with sys.modules["cupy"].cuda.Device(like.device.id):
            return sys.modules["cupy"].asarray(array)  # type: ignore[no-any-return]
    return array


def on_its_device(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Has a function that is given CuPy arrays compute, and allocate, on the device of the first of them."""

    @functools.wraps(function)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        for value in (*args, *kwargs.values()) if "cupy" in sys.modules else ():
            if is_on_device(value):
                from fastconv._cuda.memory import on_device_of

                with on_device_of(value):
                    return function(*args, **kwargs)
        return function(*args, **kwargs)

    return run


def converted(array: Any, dtype: Any, order: str = "K") -> Any:
    """The array, or a copy beside it, of this dtype; in C order if asked for."""
    if not is_on_device(array):
        return array.astype(dtype, order=order, copy=False)
    if array.dtype == dtype and (order == "K" or array.flags.c_contiguous):
        return array
    from fastconv._cuda.memory import on_device_of

    with on_device_of(array):
        return array.astype(dtype, order=order)


def planner(array: Any) -> Callable[..., Any]:
    """What makes plans for calls with such arrays."""
    if is_on_device(array):
        from fastconv._cuda.plans import plan as device_plan

        return device_plan
    from fastconv._plan import plan

    return plan
