"""The record of settings that calls look at: precision, implementation and number of threads."""

from __future__ import annotations

import operator
import os
from contextvars import ContextVar
from typing import Any, NamedTuple

from fastconv._arguments import describe

PRECISIONS = ("default", "fast", "strict")
MOST_THREADS = 1024


class Options(NamedTuple):
    """What ``options`` sets; None means that the environment or fastconv decides."""

    precision: str = "default"
    implementation: str | None = None
    num_threads: int | None = None


current: ContextVar[Options] = ContextVar(
    "fastconv.options", default=Options(implementation=os.environ.get("FASTCONV_IMPLEMENTATION") or None)
)


def thread_count(name: str, value: Any) -> int:
    """A number of threads, checked."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected an integer, got {describe(value)}")
    try:
        count = operator.index(value)
    except TypeError:  # an array of several
        raise TypeError(f"{name}: expected an integer, got {describe(value)}") from None
    if not 1 <= count <= MOST_THREADS:
        raise ValueError(f"{name}: {describe(count)} is not between 1 and {MOST_THREADS}")
    return count
