"""Refuses CPUs that lack what the compiled code assumes (x86-64-v2): it would end the process there.

NumPy 2.4 refuses them as well; older ones do not, but know what the CPU has.
"""

try:
    from numpy._core._multiarray_umath import __cpu_features__ as _features  # type: ignore[import-not-found]
except ImportError:  # a later NumPy, which may keep it elsewhere
    _features = {}

_missing = [name for name in ("SSSE3", "SSE41", "POPCNT", "SSE42") if not _features.get(name, True)]
if _features.get("SSE") and _missing:  # SSE: this is an x86
    raise ImportError(
        f"fastconv needs an x86-64-v2 CPU (Intel since 2009, AMD since 2011), and this one lacks {', '.join(_missing)}"
    )
