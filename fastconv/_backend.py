"""Backends: what fastconv asks of an array library, and whose arrays a call was given."""

from __future__ import annotations

import abc
import contextlib
import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# Array libraries, and the modules that have their BACKEND. These stand above this module, and so are imported by name,
# when a call is first given such arrays. A library that the caller has not imported is not imported here.
MODULES = {"cupy": "fastconv._cuda.backend", "numpy": "fastconv._cpu.backend"}
# The modules with their ordered lists of implementations, which load without the library.
LISTS = {"numpy": "fastconv._cpu.implementations", "cupy": "fastconv._cuda.planner"}
_OTHERS = tuple(library for library in MODULES if library != "numpy")


class Plan(Protocol):
    """One problem in one direction, dtype and layout, ready to run.

    A plan is called with two operands, `out` or None, the caller's own arrays, which `out` must not overlap, and the
    call's EpilogueArguments or None. Forward, the operands are the input and the filters; in backprop-input, the
    filters and the output's gradient; in backprop-filter, the input and the output's gradient.
    """

    direction: str
    problem: Any  # a ConvProblem
    result_shape: tuple[int, ...]
    dtype: np.dtype
    channels_first: bool
    choice: Any  # the Choice of an implementation; None where there is nothing to sum

    def __call__(
        self, a: Any, b: Any, out: Any = None, inputs: tuple[Any, ...] = (), epilogue: Any = None
    ) -> np.ndarray: ...


class Backend(abc.ABC):
    """What is done with the arrays of one library.

    Methods that compute return None (``pool``: False) where they have no kernel for the dtype. NumPy's functions then
    compute the result, from arrays of any of the libraries.
    """

    name: str  # of the library
    move: str  # what makes its arrays of another library's

    @abc.abstractmethod
    def adopt(self, array: np.ndarray, like: Any) -> Any:
        """A NumPy array as one of this library, where `like` lies."""

    @abc.abstractmethod
    def convert(self, array: Any, dtype: Any, order: str = "K") -> Any:
        """The array, or a copy beside it, of this dtype; in C order if asked for."""

    @abc.abstractmethod
    def dense(self, array: Any, dtype: Any) -> Any:
        """The array, or a copy beside it, of this dtype, in C order and aligned."""

    @abc.abstractmethod
    def behaved(self, array: Any) -> Any:
        """The array, or a copy: aligned, and with strides in whole elements."""

    @staticmethod
    @abc.abstractmethod
    def are_behaved(first: Any, second: Any, /) -> bool:
        """Whether both are plain arrays of one dtype that is computed, and ``behaved`` would leave them as they are."""

    @abc.abstractmethod
    def check_out(self, out: Any, shape: tuple[int, ...], dtype: np.dtype, inputs: tuple[Any, ...]) -> None:
        """Raises unless a result of this shape and dtype may be written to `out`, apart from the inputs."""

    @abc.abstractmethod
    def scope(self, array: Any) -> contextlib.AbstractContextManager[object]:
        """A context in which arrays are computed and allocated where this one lies."""

    # The plan of a convolution: (direction, operands, strides, padding, data_format, dilations), as in Planner.plan.
    plan: Callable[..., Plan]

    @abc.abstractmethod
    def pool(self, problem: Any, average: bool, images: Any, result: Any) -> bool:
        """Pools NHWC images into a result of any layout; whether there is a kernel."""

    @abc.abstractmethod
    def largest(self, problem: Any, images: Any) -> tuple[Any, Any] | None:
        """Each window's maximum in NHWC images, and its first place, row * W + column; the first NaN's, if any."""

    @abc.abstractmethod
    def pool_gradient(
        self, problem: Any, images: Any | None, gradient: Any, shape: tuple[int, ...], dtype: Any
    ) -> Any | None:
        """The gradient of NHWC images of this shape: of their maximum or, without images, their mean."""

    @abc.abstractmethod
    def elementwise(self, operation: str, operands: tuple[Any, ...], out: Any, parameter: float = 0.0) -> Any | None:
        """An activation or its gradient, in `out` if that is given, which may overlap operands in any way.

        Operands have one shape and dtype. The parameter is a slope, a steepness or, of "relu_grad", a limit or NaN.
        """

    @abc.abstractmethod
    def bias_add(self, value: Any, bias: Any, inner: int, out: Any) -> Any | None:
        """Each element plus its channel's bias, of which there is one for `inner` elements in turn."""

    @abc.abstractmethod
    def normalize(self, x: Any, y: Any, dy: Any, radius: int, factors: tuple[float, float, float]) -> Any | None:
        """Local response normalization of x or, with its result y and the gradient dy, the gradient.

        The factors are the bias, alpha and beta.
        """


def _library_of(value: Any) -> str | None:
    """The library whose array the value is."""
    if isinstance(value, np.ndarray):
        return "numpy"
    for library in _OTHERS:
        kind = getattr(sys.modules.get(library), "ndarray", None)
        if kind is not None and isinstance(value, kind):
            return library
    return None


_loaded: dict[str, Backend] = {}  # of each library whose arrays were seen


def backend_of(value: Any) -> Backend:
    """The backend of an array; of all else NumPy's, which makes arrays of it."""
    library = "numpy" if type(value) is np.ndarray else _library_of(value) or "numpy"
    backend = _loaded.get(library)
    if backend is None:  # import_module waits for another thread that just imports it
        backend = _loaded[library] = importlib.import_module(MODULES[library]).BACKEND
    return backend


def is_array(value: Any) -> bool:
    """Whether it is an array of any of the libraries."""
    return _library_of(value) is not None


def is_foreign(value: Any) -> bool:
    """Whether it is an array of another library than NumPy."""
    return not isinstance(value, np.ndarray) and _library_of(value) is not None


def on_its_device(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """The function, but computing and allocating where its first array of another library than NumPy lies."""

    @functools.wraps(function)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        if any(library in sys.modules for library in _OTHERS):
            for value in (*args, *kwargs.values()):
                if is_foreign(value):
                    with backend_of(value).scope(value):
                        return function(*args, **kwargs)
        return function(*args, **kwargs)

    return run
