"""How kernels are launched: compiled when they are first asked for, with structures of checked arguments."""

from __future__ import annotations

import functools
import os
import tempfile
from typing import Any, NamedTuple

import cupy
import numpy as np

from fastconv import _epilogue
from fastconv._cuda.planner import Kernel

FOLDER = os.path.dirname(os.path.abspath(__file__))

# The activations that a kernel's epilogue may apply, by their numbers there.
ACTIVATIONS = (None, *_epilogue.ACTIVATIONS)


_SHARED_BY_DEFAULT = 48 << 10  # bytes that a block may have without asking


class Device(NamedTuple):
    """What the planner asks about a device."""

    number: int
    capability: int  # 90, say
    multiprocessors: int


@functools.cache
def device(number: int) -> Device:
    """The device with this number."""
    found = cupy.cuda.Device(number)
    return Device(number, int(found.compute_capability), int(found.attributes["MultiProcessorCount"]))


@functools.cache
def _sources() -> str:
    """Tells versions of the sources apart: CuPy's cache of compiled kernels does not look at what a file includes."""
    import hashlib

    found = hashlib.sha256()
    for name in sorted(os.listdir(FOLDER)):
        if name.endswith((".cu", ".cuh")):
            with open(os.path.join(FOLDER, name), "rb") as file:
                found.update(file.read())
    return found.hexdigest()[:16]


_CUPY_OPTIONS = "-ftz=true", "--device-as-default-execution-space"  # which it adds to all that it compiles


def _compiled_for(architecture: str, code: str, options: tuple[str, ...]) -> Any:
    """A module for an architecture that CuPy does not compile for."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(code, "kernel.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*options, *_CUPY_OPTIONS, f"--gpu-architecture={architecture}"))
        binary = nvrtc.getCUBIN(program)
    finally:
        nvrtc.destroyProgram(program)
    file, path = tempfile.mkstemp(".cubin", dir=_binaries().name)
    with os.fdopen(file, "wb") as opened:
        opened.write(binary)
    return cupy.RawModule(path=path)


@functools.cache
def _binaries() -> tempfile.TemporaryDirectory[str]:
    """Where the modules of this process lie that CuPy loads from files."""
    return tempfile.TemporaryDirectory(prefix="fastconv-")


@functools.cache
def compile_kernel(kernel: Kernel, number: int) -> Any:
    """The kernel on a device, compiled when it is first asked for."""
    with cupy.cuda.Device(number), open(os.path.join(FOLDER, kernel.source)) as file:
        options = (*kernel.options, f"-I{FOLDER}", f"-DFC_SOURCES={_sources()}")
        if kernel.architecture is None:
            module = cupy.RawModule(code=file.read(), options=options)
        else:
            module = _compiled_for(kernel.architecture, file.read(), options)
        function = module.get_function(kernel.entry)
        if kernel.shared > _SHARED_BY_DEFAULT:
            function.max_dynamic_shared_size_bytes = kernel.shared
    return function


class Launch(NamedTuple):
    """A kernel with all its arguments but the arrays."""

    kernel: Kernel
    function: Any
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[Any, ...]

    def run(self, *arrays: Any) -> None:
        """Launches it on the current stream."""
        self.function(self.grid, self.block, (*self.arguments, *arrays), shared_mem=self.kernel.shared)


def prepare_launch(kernel: Kernel, number: int, grid: tuple[int, int, int], *arguments: Any) -> Launch:
    """The launch of so many blocks of the kernel on the device with this number."""
    return Launch(kernel, compile_kernel(kernel, number), grid, (kernel.threads, 1, 1), arguments)


NOTHING = np.uint64(0)  # a null pointer


def pack(struct: np.dtype, **fields: Any) -> np.ndarray:
    """A kernel's structure with these fields; others are 0."""
    found = np.zeros((), struct)
    for name, value in fields.items():
        if struct[name].kind == "i" and not np.iinfo(struct[name]).min <= value <= np.iinfo(struct[name]).max:
            what = name.replace("_", " ")
            raise ValueError(f"input: too large for a CUDA device, whose kernels cannot count to {value} ({what})")
        found[name] = value
    return found


_MOST_CELLS = 1 << 30  # that an image and its padding have along an axis: kernels count in 32 bits


def check_span(axis: str, cells: int) -> None:
    """Raises unless kernels can count so many cells."""
    if cells > _MOST_CELLS:
        raise ValueError(f"input: its {axis} with padding and windows, {cells} cells, is too large for a CUDA device")
