"""TensorFlow's tf.nn.conv2d for NumPy and CuPy arrays, without TensorFlow."""

import importlib.util
import os
import sys

if importlib.util.find_spec("fastconv._cpu._core") is None:  # Python found a source tree before an installed package
    _here = os.path.dirname(os.path.abspath(__file__))
    raise ImportError(
        f"{_here} is fastconv's source code, not built. Run 'pip install .' in {os.path.dirname(_here)} (it needs a C"
        " compiler), and then 'fastconv' and 'pytest', not 'python -m fastconv' and 'python -m pytest': these look"
        " for modules in the current directory first; or leave that directory."
    )


def _is_command() -> bool:
    """Whether the command line is what imports this package: ``fastconv`` or ``python -m fastconv``."""
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0] if sys.argv else ""
    return name == "fastconv" or (name == "-m" and "fastconv" in sys.orig_argv)


try:
    from fastconv import _baseline, filters, nn  # noqa: F401  _baseline first: all others run compiled code
    from fastconv._config import show_config
    from fastconv._prepared import PreparedFilters, prepare
    from fastconv._settings import options
    from fastconv._shape import output_shape
    from fastconv._threads import get_num_threads, set_num_threads
    from fastconv._version import __version__
except ImportError as error:  # an environment variable that is wrong, say
    if _is_command():
        sys.exit(f"fastconv: {error}")
    raise

__all__ = [
    "PreparedFilters",
    "__version__",
    "filters",
    "get_num_threads",
    "nn",
    "options",
    "output_shape",
    "prepare",
    "set_num_threads",
    "show_config",
]


def __dir__() -> list[str]:
    return __all__
