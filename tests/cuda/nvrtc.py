"""NVIDIA's run-time compiler, from its PyPI package: no device and no driver."""

from __future__ import annotations

import ctypes
import glob
import importlib.metadata
import os
import re
from typing import NamedTuple

PACKAGE = "nvidia-cuda-nvrtc"
CUPY_OPTIONS = "-ftz=true", "--device-as-default-execution-space"  # which it adds to all that it compiles


class Report(NamedTuple):
    """What ptxas says of a kernel."""

    registers: int
    stack: int  # bytes a thread
    spills: int
    log: str


def _library() -> ctypes.CDLL:
    files = importlib.metadata.files(PACKAGE) or []
    (path,) = [str(file.locate()) for file in files if re.search(r"libnvrtc\.so\.\d+$", str(file))]
    for builtins in glob.glob(os.path.join(os.path.dirname(path), "libnvrtc-builtins.so.*")):
        ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(path)


def compiled(path: str, options: tuple[str, ...], architecture: str) -> Report:
    """Compiles a file to machine code, sm_90 say; AssertionError with the compiler's words if that fails."""
    library = _library()
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    with open(path, "rb") as file:
        source = file.read()
    name = os.path.basename(path).encode()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source, name, 0, None, None) == 0
    given = [f"--gpu-architecture={architecture}", "--ptxas-options=-v", *CUPY_OPTIONS, *options]
    words = (ctypes.c_char_p * len(given))(*[word.encode() for word in given])
    failed = library.nvrtcCompileProgram(program, len(given), words)
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, buffer)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    log = buffer.value.decode()
    assert not failed, f"{architecture} {options}: {log}"
    # A line for each kernel, and for each function that one calls.
    found = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    stacks, stores, loads = zip(*(map(int, line) for line in found))
    registers = map(int, re.findall(r"Used (\d+) registers", log))
    return Report(max(registers), max(stacks), sum(stores) + sum(loads), log)
