"""TensorFlow's tf.nn.conv2d for NumPy and CuPy arrays, without TensorFlow."""

import importlib.machinery
import importlib.util
import os
import sys


def _built_elsewhere() -> bool:
    """Where this folder is an unbuilt source tree, puts the installed package, if there is one, in its place.

    Python finds a folder named fastconv in the current directory before the installed package; without this,
    ``python -m fastconv`` or ``python -m pytest`` in a checkout would fail.
    """
    here = os.path.dirname(os.path.abspath(__file__))

    def is_built(folder: str) -> bool:
        suffixes = importlib.machinery.EXTENSION_SUFFIXES
        return any(os.path.exists(os.path.join(folder, "_cpu", "_core" + suffix)) for suffix in suffixes)

    if is_built(here):
        return False
    for entry in sys.path:
        folder = os.path.join(os.path.abspath(entry or os.curdir), "fastconv")
        if is_built(folder):
            path = os.path.join(folder, "__init__.py")
            spec = importlib.util.spec_from_file_location(__name__, path, submodule_search_locations=[folder])
            assert spec is not None and spec.loader is not None
            installed = importlib.util.module_from_spec(spec)
            sys.modules[__name__] = installed
            spec.loader.exec_module(installed)
            return True
    raise ImportError(
        f"{here} is fastconv's source code, not built. Run 'pip install .' in {os.path.dirname(here)}"
        " (it needs a C compiler), or leave that directory to use an installed fastconv."
    )


def _is_command() -> bool:
    """Whether the command line is what imports this package: ``fastconv`` or ``python -m fastconv``."""
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0] if sys.argv else ""
    return name == "fastconv" or (name == "-m" and "fastconv" in sys.orig_argv)


if not _built_elsewhere():
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
