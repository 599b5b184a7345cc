"""A stand-in for CuPy: its arrays lie in this machine's memory, and its kernels are compiled for the host and recorded.

What fastconv asks of CuPy is here under the same names. Like CuPy's, arrays refuse to become NumPy's unasked.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import re
import sys
import time
import types
import weakref
from typing import Any, NamedTuple

import numpy as np
import nvrtc
from host_build import built
from numpy.lib.mixins import NDArrayOperatorsMixin

import fastconv
from fastconv import _backend

GUARD = 256  # bytes before an allocation that no kernel may write
ALIGNMENT = 16  # of allocations, in bytes: the widest access of a kernel
POISON = 0xFF  # NaN in every floating type


_libc = ctypes.CDLL(None, use_errno=True)
_current = [0]  # the device in use, and those that were before contexts were entered


class _Memory:
    """An allocation: not initialized, between pages that may not be read and bytes that no kernel may write."""

    def __init__(self, size: int) -> None:
        room = -(-(size + GUARD) // mmap.PAGESIZE) * mmap.PAGESIZE
        pages = mmap.mmap(-1, room + 2 * mmap.PAGESIZE)
        self.whole = np.frombuffer(pages, np.uint8)[mmap.PAGESIZE : -mmap.PAGESIZE]
        self.whole[:] = POISON
        for page in (-mmap.PAGESIZE, room):
            failed = _libc.mprotect(ctypes.c_void_p(self.whole.ctypes.data + page), mmap.PAGESIZE, 0)
            assert not failed
        self.start = (room - size) // ALIGNMENT * ALIGNMENT
        self.size = size
        self.device = _current[-1]

    def check(self) -> None:
        before, after = self.whole[: self.start], self.whole[self.start + self.size :]
        assert (before == POISON).all(), "a kernel wrote before an array"
        assert (after == POISON).all(), "a kernel wrote behind an array"


class _Flags(NamedTuple):
    c_contiguous: bool
    f_contiguous: bool


class _Pointer(NamedTuple):
    ptr: int


def _unwrapped(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_unwrapped, value))
    return value


def _wrapped(value: Any, memory: Any = None) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        if memory is None or not np.may_share_memory(value, memory.whole):
            return array(value)
        return ndarray(value, memory)
    return value


class ndarray(NDArrayOperatorsMixin):  # noqa: N801
    """An array on the device."""

    __array_priority__ = 100

    def __init__(self, host: np.ndarray, memory: _Memory) -> None:
        self.host = host
        self.memory = memory

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides"):
            return getattr(self.host, name)
        if name in (
            "reshape",
            "transpose",
            "squeeze",
            "ravel",
            "sum",
            "max",
            "min",
            "mean",
            "any",
            "all",
            "copy",
            "view",
        ):
            method = getattr(self.host, name)
            return lambda *args, **kwargs: _wrapped(method(*map(_unwrapped, args), **kwargs), self.memory)
        raise AttributeError(f"the stand-in's arrays have no {name}")

    @property
    def T(self) -> Any:  # noqa: N802
        return self.transpose()

    @property
    def flags(self) -> _Flags:
        return _Flags(self.host.flags.c_contiguous, self.host.flags.f_contiguous)

    @property
    def data(self) -> _Pointer:
        return _Pointer(self.host.ctypes.data)

    @property
    def device(self) -> Device:
        return Device(self.memory.device)

    def astype(self, dtype: Any, order: str = "K", casting: Any = None, copy: bool = True) -> Any:
        with np.errstate(all="ignore"):
            return _wrapped(self.host.astype(dtype, order, copy=copy), self.memory)

    def fill(self, value: Any) -> None:
        self.host.fill(value)

    def get(self) -> np.ndarray:
        return self.host.copy()

    def item(self) -> Any:
        return self.host.item()

    def __len__(self) -> int:
        return len(self.host)

    def __bool__(self) -> bool:
        return bool(self.host)

    def __float__(self) -> float:
        return float(self.host)

    def __getitem__(self, key: Any) -> Any:
        return _wrapped(self.host[_unwrapped(key)], self.memory)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.host[_unwrapped(key)] = _unwrapped(value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if out is not None:
            kwargs["out"] = tuple(map(_unwrapped, out))
        result = getattr(ufunc, method)(*map(_unwrapped, inputs), **kwargs)
        return _wrapped(result) if out is None else out[0]

    def __array_function__(self, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        return _called(function, args, kwargs)


def _called(function: Any, args: Any, kwargs: Any) -> Any:
    kwargs = {name: _unwrapped(value) for name, value in kwargs.items()}
    return _wrapped(function(*map(_unwrapped, args), **kwargs))


def empty(shape: Any, dtype: Any = float) -> ndarray:
    _allocated[0] += 1
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    memory = _allocators[-1](count * dtype.itemsize)
    if settings.is_capturing:
        _captured.append(weakref.ref(memory))
    flat = memory.whole[memory.start : memory.start + memory.size].view(dtype)
    return ndarray(flat.reshape(shape), memory)


_allocated = [0]
_allocators: list[Any] = [_Memory]  # the one in use, and those that were before contexts were entered
_captured: list[Any] = []


def capture(call: Any) -> list[Any]:
    """Has a stream capture what the call launches; weak references to the memory that was allocated meanwhile."""
    _captured.clear()
    settings.is_capturing = True
    try:
        call()
    finally:
        settings.is_capturing = False
    return list(_captured)


def allocations() -> int:
    """How many arrays were made so far."""
    return _allocated[0]


def struct_fields(name: str) -> list[tuple[str, int]]:
    """The fields, and their bytes, of the structure that a source file defines first and launches take."""
    with open(os.path.join(os.path.dirname(fastconv.__file__), "_cuda", name)) as file:
        body = re.findall(r"^struct \w+ {\n(.*?)^};", file.read(), re.MULTILINE | re.DOTALL)[0]
    fields = []
    for kind, names in re.findall(r"^ +(long long|double|int) ([\w, ]+);", body, re.MULTILINE):
        fields += [(field, 4 if kind == "int" else 8) for field in names.split(", ") if field != "unused"]
    return fields


def array(value: Any, dtype: Any = None) -> ndarray:
    host = np.asarray(_unwrapped(value) if isinstance(value, ndarray) else value, dtype)
    result = empty(host.shape, host.dtype)
    result.host[...] = host
    return result


def asarray(value: Any, dtype: Any = None) -> ndarray:
    return value if isinstance(value, ndarray) and dtype in (None, value.dtype) else array(value, dtype)


def ascontiguousarray(value: ndarray, dtype: Any = None) -> ndarray:
    same = dtype is None or value.dtype == dtype
    return value if value.flags.c_contiguous and same else array(value, dtype)


def asnumpy(value: Any) -> np.ndarray:
    return value.get() if isinstance(value, ndarray) else np.asarray(value)


class Launched(NamedTuple):
    """A launch, as the device would see it."""

    entry: str
    options: tuple[str, ...]
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int


launches: list[Launched] = []


class _Settings:
    """The device that is played."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.capability = int(os.environ.get("STANDIN_CAPABILITY", 80))
        self.multiprocessors = int(os.environ.get("STANDIN_MULTIPROCESSORS", 108))
        self.is_capturing = False


settings = _Settings()
_SHARED = {75: 64 << 10, 86: 99 << 10, 89: 99 << 10, 120: 99 << 10, 80: 163 << 10, 90: 227 << 10, 100: 227 << 10}


def most_shared(capability: int) -> int:
    """Bytes of shared memory that a block may have at most."""
    return _SHARED[capability]


class RawKernel:
    """A kernel of a module."""

    def __init__(self, code: str, options: tuple[str, ...], entry: str) -> None:
        self.entry, self.options, self.device = entry, options, _current[-1]
        self.run = getattr(built(code, options, settings.capability), entry + "_on_host")
        self.run.restype = ctypes.c_char_p
        self._most_shared = 48 << 10

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._most_shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        assert size <= most_shared(settings.capability), f"{size} bytes of shared memory"
        self._most_shared = size

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        assert shared_mem <= self._most_shared, f"{shared_mem} bytes of shared memory, {self._most_shared} allowed"
        assert len(grid) == len(block) == 3 and np.prod(block) <= 1024
        assert 0 < grid[0] < 2**31 and 0 < grid[1] < 2**16 and 0 < grid[2] < 2**16, grid
        launches.append(Launched(self.entry, self.options, tuple(grid), tuple(block), shared_mem))
        assert self.device == _current[-1], "a kernel of another device"
        memories, values = [], []
        for value in args:
            if isinstance(value, ndarray):
                assert value.memory.device == self.device, "an array of another device"
                memories.append(value.memory)
                values.append(np.uint64(value.data.ptr).tobytes())
            else:
                assert isinstance(value, (np.generic, np.ndarray)) and value.size == 1, "a value of a known width"
                values.append(value.tobytes())
        buffers = [ctypes.create_string_buffer(value + bytes(16)) for value in values]
        pointers = (ctypes.c_void_p * len(buffers))(*map(ctypes.addressof, buffers))
        sizes = [(ctypes.c_uint * 3)(*size) for size in (grid, block)]
        error = self.run(*sizes, ctypes.c_size_t(shared_mem), pointers)
        assert error is None, f"{self.entry}: {error.decode()}"
        for memory in memories:
            memory.check()


class _Nvrtc(types.ModuleType):
    """The run-time compiler, whose machine code is the source and the options."""

    @staticmethod
    def getVersion() -> tuple[int, int]:  # noqa: N802
        return 13, 0

    @staticmethod
    def createProgram(code: str, name: str, headers: Any, names: Any) -> dict[str, Any]:  # noqa: N802
        assert not headers and not names
        return {"code": code}

    @staticmethod
    def compileProgram(program: dict[str, Any], options: Any) -> None:  # noqa: N802
        program["options"] = options

    @staticmethod
    def getCUBIN(program: dict[str, Any]) -> bytes:  # noqa: N802
        return json.dumps(program).encode()

    @staticmethod
    def destroyProgram(program: dict[str, Any]) -> None:  # noqa: N802
        program.clear()


class RawModule:
    """A source file, compiled with options, or what the compiler made of one."""

    def __init__(self, *, code: str = "", options: tuple[str, ...] = (), path: str | None = None) -> None:
        self.code, self.options, self.path = code, options, path

    def compile(self) -> None:
        if self.path is not None:
            with open(self.path) as file:
                program = json.load(file)
            *options, flush, space, architecture = program["options"]
            assert (flush, space) == nvrtc.CUPY_OPTIONS
            assert architecture == f"--gpu-architecture=sm_{settings.capability}a"
            self.code, self.options, self.path = program["code"], tuple(options), None

    def get_function(self, entry: str) -> Any:
        self.compile()
        if "FC_EXPORT" not in self.code:
            return _idle
        return RawKernel(self.code, self.options, entry)


def _idle(grid: Any, block: Any, args: Any) -> None:
    """A kernel that has no body for the host, as the one with which benchmarks keep a device busy."""


class Device:
    """A device, as a context too."""

    def __init__(self, number: int | None = None) -> None:
        number = _current[-1] if number is None else number
        assert number in (0, 1)
        self.id = number
        self.compute_capability = str(settings.capability)
        self.attributes = {"MultiProcessorCount": settings.multiprocessors, "L2CacheSize": 64 << 10}

    def __enter__(self) -> Device:
        _current.append(self.id)
        return self

    def __exit__(self, *error: object) -> None:
        _current.pop()


class _Stream:
    def synchronize(self) -> None:
        assert not settings.is_capturing

    def is_capturing(self) -> bool:
        return settings.is_capturing


class Event:
    """A moment, on the host's clock."""

    def record(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        pass


class _Runtime(types.ModuleType):
    class CUDARuntimeError(RuntimeError):
        pass

    @staticmethod
    def getDeviceProperties(number: int) -> dict[str, Any]:  # noqa: N802
        return {"name": b"a stand-in for a GPU", "totalGlobalMem": 1 << 30}

    @staticmethod
    def runtimeGetVersion() -> int:  # noqa: N802
        return 13000


class _Pool:
    def free_all_blocks(self) -> None:
        pass


class _Cuda(types.ModuleType):
    Device = Device
    Event = Event
    nvrtc = _Nvrtc("cupy.cuda.nvrtc")
    runtime = _Runtime("cupy.cuda.runtime")

    @staticmethod
    def get_elapsed_time(start: Event, end: Event) -> float:
        return 1e3 * (end.time - start.time)

    @staticmethod
    def get_current_stream() -> _Stream:
        return _Stream()

    @staticmethod
    def get_allocator() -> Any:
        return _allocators[-1]

    @staticmethod
    @contextlib.contextmanager
    def using_allocator(allocator: Any) -> Any:
        _allocators.append(allocator)
        yield
        _allocators.pop()


cuda = _Cuda("cupy.cuda")
__version__ = "0 (stand-in)"


def get_default_memory_pool() -> _Pool:
    return _Pool()


def forget() -> None:
    """Unloads CuPy, or what took its place, and what was imported with it."""
    for name in list(sys.modules):
        if name.split(".")[0] == "cupy" or name.startswith("fastconv._cuda"):
            del sys.modules[name]
    _backend._loaded.pop("cupy", None)


def install() -> Any:
    """Puts this module in CuPy's place."""
    module = sys.modules[__name__]
    sys.modules["cupy"] = module
    sys.modules["cupy.cuda"] = cuda
    return module


def __getattr__(name: str) -> Any:
    function = getattr(np, name)
    return lambda *args, **kwargs: _called(function, args, kwargs)
