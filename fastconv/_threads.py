"""How many threads a call gets: the caller's setting, the environment, the CPUs allowed, and the size of the work."""

from __future__ import annotations

import functools
import math
import os
import warnings

from fastconv._cpu import _core
from fastconv._cpu import cost_model as costs
from fastconv._options import MOST_THREADS, current, thread_count

_has_openmp = bool(_core.build()["openmp"])

_chosen: int | None = None


def _words(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return []


def cgroup_quota(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> float:
    """CPUs that the control group (version 1 or 2) lets this process use; infinity if it sets no quota."""
    quota = math.inf
    try:
        with open(membership) as file:
            lines = file.read().splitlines()
    except OSError:
        return quota
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            continue
        base = os.path.join(root, controllers)
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):
            folder = os.path.join(base, *parts[:depth])
            limit = _words(os.path.join(folder, "cpu.max")) or (
                _words(os.path.join(folder, "cpu.cfs_quota_us")) + _words(os.path.join(folder, "cpu.cfs_period_us"))
            )
            if len(limit) == 2 and limit[0] not in ("max", "-1"):
                quota = min(quota, int(limit[0]) / int(limit[1]))
    return quota


def _asked_for() -> int | None:
    """The number of threads that the environment asks for; anything else is a warning, and ignored."""
    for name in ("FASTCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0].strip()
        if not text:
            continue
        try:
            return thread_count(name, int(text))
        except ValueError:
            warnings.warn(f"{name}={os.environ[name]!r} is not a number of threads; ignored", stacklevel=2)
    return None


_environments = _asked_for()


@functools.cache
def _default() -> int:
    # Not the affinity of this thread: OMP_PROC_BIND has OpenMP bind it to one CPU of several.
    return _environments or max(1, math.ceil(min(_core.processors(), cgroup_quota())))


def get_num_threads() -> int:
    """The most threads that a call made here may use.

    Returns
    -------
    int
        The count of the innermost ``options(num_threads=...)``, else of ``set_num_threads``, else of
        ``FASTCONV_NUM_THREADS`` or ``OMP_NUM_THREADS``, else the CPUs that affinity and the control
        group allow; no more than ``threadpoolctl`` limits OpenMP to, and 1 in a build without OpenMP.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.options(num_threads=3):
    ...     fastconv.get_num_threads()
    3
    """
    most = current.get().num_threads or _chosen or _default()
    limit = _core.thread_limit() if _has_openmp else 1
    return min(most, limit) if limit else most


def set_num_threads(num_threads: int | None) -> None:
    """Set the most threads that a call may use, in the whole process.

    Parameters
    ----------
    num_threads : int or None
        Honored even above the number of cores; None goes back to the default. Small work still
        runs on one thread.

    Raises
    ------
    TypeError, ValueError
        If it is not an integer from 1 to 1024.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.set_num_threads(2)
    >>> fastconv.get_num_threads()
    2
    >>> fastconv.set_num_threads(None)
    """
    global _chosen
    _chosen = None if num_threads is None else thread_count("num_threads", num_threads)


def most_threads(multiply_adds: int) -> int:
    """The most threads that this much work is worth."""
    return max(1, min(MOST_THREADS, multiply_adds // costs.WORTH_A_THREAD))


def threads_up_to(most: int) -> int:
    """The number of threads for work that is worth so many."""
    return 1 if most == 1 else min(get_num_threads(), most)


def threads_for(multiply_adds: int) -> int:
    """The number of threads for this much work."""
    return threads_up_to(most_threads(multiply_adds))
