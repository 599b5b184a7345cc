"""Settings that the caller makes for a block of code; the implementation that the environment names is checked here."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from fastconv._arguments import describe
from fastconv._backend import LISTS
from fastconv._options import PRECISIONS, Options, current, thread_count
from fastconv._types import Precision


def check_implementation(name: object) -> str:
    """The name of an implementation, checked."""
    lists = [importlib.import_module(module).IMPLEMENTATIONS for module in LISTS.values()]  # 3 ms that few calls need
    names = list(dict.fromkeys(entry.name for of in lists for entries in of.values() for entry in entries))
    if name not in names:
        raise ValueError(f"implementation: {name!r} is not one of {', '.join(map(repr, names))}")
    return str(name)


def options(
    *, precision: Precision | None = None, implementation: str | None = None, num_threads: int | None = None
) -> contextlib.AbstractContextManager[Options]:
    """Settings for the calls in a ``with`` block, in this thread or task only.

    Parameters
    ----------
    precision : {"default", "fast", "strict"}, optional
        "default" is at least as accurate as TensorFlow; "fast" may err up to 2.5 times as much;
        "strict" takes direct sums only. On a CUDA device, from compute capability 8.0 on, float32 is
        multiplied as the sum of two TF32 numbers, as one with "fast", and as itself with "strict".
    implementation : str, optional
        The name of one implementation, as ``FASTCONV_VERBOSE=1`` prints it. A call that it cannot
        serve raises ValueError with the reason. "warpgroup", for float16 and bfloat16 CuPy arrays
        on a Hopper GPU, is chosen by nothing else.
    num_threads : int, optional
        Number of threads, honored even above the number of cores.

    Raises
    ------
    TypeError, ValueError
        If a value is not one of these.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x, w = np.ones((1, 4, 4, 1), np.float32), np.ones((3, 3, 1, 1), np.float32)
    >>> with fastconv.options(num_threads=1):
    ...     y = fastconv.nn.conv2d(x, w, 1, "VALID")
    >>> float(y[0, 0, 0, 0])
    9.0
    """
    changes: dict[str, Any] = {}
    if precision is not None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision: {describe(precision)} is not one of {', '.join(map(repr, PRECISIONS))}")
        changes["precision"] = precision
    if implementation is not None:
        changes["implementation"] = check_implementation(implementation)
    if num_threads is not None:
        changes["num_threads"] = thread_count("num_threads", num_threads)
    return _changed(changes)


@contextlib.contextmanager
def _changed(changes: dict[str, Any]) -> Iterator[Options]:
    token = current.set(current.get()._replace(**changes))
    try:
        yield current.get()
    finally:
        current.reset(token)


if current.get().implementation is not None:
    try:
        check_implementation(current.get().implementation)
    except ValueError as error:
        raise ImportError(f"FASTCONV_IMPLEMENTATION: {error}") from None
