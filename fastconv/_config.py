"""What this build and this machine are."""

from __future__ import annotations

from typing import Any, Literal, overload

from fastconv._cpu import _core
from fastconv._threads import get_num_threads
from fastconv._version import __version__


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...


@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Show how fastconv was built, and what it uses on this machine.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, optional
        Print the configuration, or return it as a dictionary.

    Returns
    -------
    dict or None
        With ``mode="dicts"``: version, compiler, flags, instruction sets built, supported by this
        CPU and in use, whether multiply-adds are fused (the bits of results are the same on all
        CPUs where they are), OpenMP, and threads.

    Raises
    ------
    ValueError
        If `mode` is neither.

    Examples
    --------
    >>> import fastconv
    >>> sorted(fastconv.show_config("dicts"))
    ['Build', 'Instruction sets', 'OpenMP', 'Threads', 'Version']
    """
    import json  # here, for it costs the import of fastconv 3 ms

    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode: {mode!r} is not one of 'stdout' and 'dicts'")
    build, sets = _core.build(), _core.instruction_sets()
    config = {
        "Version": __version__,
        "Build": {"compiler": build["compiler"], "flags": build["flags"]},
        "Instruction sets": {
            "built": list(sets),
            "supported": [name for name, supported in sets.items() if supported],
            "in use": _core.instruction_set(),
            "fused multiply-add": build["fused_multiply_add"],
        },
        "OpenMP": {
            "version": build["openmp"] or None,
            "runtime": (
                None if not build["openmp"] else "libomp" if build["compiler"].startswith("Clang") else "libgomp"
            ),
        },
        "Threads": get_num_threads(),
    }
    if mode == "dicts":
        return config
    print(json.dumps(config, indent=2))
    return None
