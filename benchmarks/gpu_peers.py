"""The libraries under comparison on a GPU, each at its best: ``Peer().prepare(case, pairs)`` gives what to time.

That is a call for each pair of operands, which are NumPy arrays of float32: images or filters and output gradients as
fastconv takes them. A call keeps its result, so that the next one finds neither operands nor results in the caches.
``seconds(calls, repeats)`` runs them in turn and tells the device's seconds for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cupy
import ml_dtypes  # noqa: F401, which makes NumPy know bfloat16
import numpy as np
import peers
from machine import driver_version
from peers import Jax, explicit_pads

import fastconv
from fastconv._problem import ConvProblem

Call = Callable[[], object]


class Arithmetic(NamedTuple):
    """What is like in all libraries."""

    dtype: str
    precision: str  # fastconv's
    tf32: bool  # whether the others may round operands so


KINDS = {
    "float32": Arithmetic("float32", "default", False),
    "strict": Arithmetic("float32", "strict", False),
    "tf32": Arithmetic("float32", "fast", True),
    "float16": Arithmetic("float16", "default", False),
    "bfloat16": Arithmetic("bfloat16", "default", False),
    "float64": Arithmetic("float64", "default", False),
}


class Case(NamedTuple):
    """What is computed."""

    problem: ConvProblem
    direction: str
    arithmetic: Arithmetic


class Clock:
    """Times work on CuPy's stream, which is PyTorch's too, by events that the device records."""

    def __init__(self) -> None:
        self.spin = cupy.RawModule(code=Path(__file__).with_name("spin.cu").read_text()).get_function("spin")
        self.hertz = 1e3 * cupy.cuda.Device().attributes.get("ClockRate", 2_000_000)  # kHz; not every driver tells

    def seconds(self, calls: list[Call], repeats: int) -> float:
        """Of one call, on the device; the work is in its queue before the first begins."""
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        cupy.cuda.get_current_stream().synchronize()
        before = time.perf_counter()
        for call in calls:
            call()
        ahead = (time.perf_counter() - before) / len(calls) * repeats
        self.spin((1,), (1,), (np.int64(2 * ahead * self.hertz),))
        start.record()
        for i in range(repeats):
            calls[i % len(calls)]()
        end.record()
        end.synchronize()
        return 1e-3 * cupy.cuda.get_elapsed_time(start, end) / repeats

    def release(self) -> None:
        """Gives back what calls left in the library's pool of memory."""
        cupy.get_default_memory_pool().free_all_blocks()

    def host_seconds(self, call: Call, repeats: int = 200) -> float:
        """Of one call on the host, which does not wait for the device: the least of some tries."""
        best = float("inf")
        for _ in range(20):
            cupy.cuda.get_current_stream().synchronize()
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            best = min(best, (time.perf_counter() - start) / repeats)
        return best


class Fastconv(Clock):
    """CuPy arrays, filters unprepared, a new output each call; the precision is the caller's to set."""

    version = fastconv.__version__

    def __init__(self) -> None:
        super().__init__()
        self.library = peers.Fastconv(1)

    def compute(self, case: Case, a: Any, b: Any) -> Any:
        """The result for these arrays of the device."""
        return getattr(self.library, case.direction)(case.problem, a, b)()

    def prepare(self, case: Case, pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[Call]:
        results: list[Any] = [None] * len(pairs)

        def call_with(i: int, a: Any, b: Any) -> Call:
            compute = getattr(self.library, case.direction)(case.problem, a, b)

            def call() -> None:
                results[i] = compute()

            return call

        dtype = case.arithmetic.dtype
        return [call_with(i, *(cupy.asarray(array.astype(dtype)) for array in pair)) for i, pair in enumerate(pairs)]


class Torch(Clock):
    """cuDNN through PyTorch: channels_last, in inference mode, the fastest of its algorithms."""

    def __init__(self) -> None:
        import torch

        super().__init__()
        self.torch = torch
        torch.backends.cudnn.benchmark = True
        self.version = f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}"

    def release(self) -> None:
        self.torch.cuda.empty_cache()

    def prepare(self, case: Case, pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[Call]:
        torch, p, results = self.torch, case.problem, [None] * len(pairs)
        lopsided = (p.pad_top, p.pad_left) != (p.pad_bottom, p.pad_right)  # padded beforehand
        pads = (0, 0) if lopsided else (p.pad_top, p.pad_left)
        strides, dilations = (p.stride_h, p.stride_w), (p.dilation_h, p.dilation_w)

        def image(array: np.ndarray, padded: bool = False) -> Any:
            if padded and lopsided:
                array = np.pad(array, explicit_pads(p))
            return tensor(array, (0, 3, 1, 2))

        def tensor(array: np.ndarray, axes: tuple[int, ...]) -> Any:
            moved = torch.from_numpy(array).to("cuda", getattr(torch, case.arithmetic.dtype))
            return moved.permute(axes).contiguous(memory_format=torch.channels_last)

        def call_with(i: int, a: np.ndarray, b: np.ndarray) -> Call:
            if case.direction == "forward":
                x, w = image(a, True), tensor(b, (3, 2, 0, 1))
                function = torch.nn.functional.conv2d
                arguments: tuple[Any, ...] = x, w, None, strides, pads, dilations, p.groups
            else:
                is_input = case.direction == "backprop_input"
                x = image(np.zeros((p.n, p.h, p.w, p.c), np.float32) if is_input else a, True)
                w = tensor(a if is_input else np.zeros((p.kh, p.kw, p.c // p.groups, p.f), np.float32), (3, 2, 0, 1))
                function = torch.ops.aten.convolution_backward
                mask = [is_input, not is_input, False]
                arguments = image(b), x, w, None, strides, pads, dilations, False, [0, 0], p.groups, mask

            def call() -> None:
                torch.backends.cudnn.allow_tf32 = case.arithmetic.tf32
                with torch.inference_mode():
                    results[i] = function(*arguments)

            return call

        return [call_with(i, *pair) for i, pair in enumerate(pairs)]


class JaxOnDevice(Jax):
    """Jitted, NHWC; timed on the host, from the first call to the last result, as XLA has streams of its own."""

    def __init__(self) -> None:
        super().__init__(1)
        (self.device,) = self.jax.devices("gpu")[:1]

    def prepare(self, case: Case, pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[Call]:
        jax, p, self.results = self.jax, case.problem, [None] * len(pairs)
        precision = "default" if case.arithmetic.tf32 or case.arithmetic.dtype == "float64" else "highest"
        forward = self.convolution(p)
        shapes = {"backprop_input": (p.n, p.h, p.w, p.c), "backprop_filter": (p.kh, p.kw, p.c // p.groups, p.f)}
        other = jax.ShapeDtypeStruct(shapes.get(case.direction, ()), case.arithmetic.dtype)
        function = jax.jit(
            {
                "forward": forward,
                "backprop_input": lambda w, dy: jax.linear_transpose(lambda x: forward(x, w), other)(dy)[0],
                "backprop_filter": lambda x, dy: jax.linear_transpose(lambda w: forward(x, w), other)(dy)[0],
            }[case.direction]
        )

        def call_with(i: int, a: np.ndarray, b: np.ndarray) -> Call:
            left, right = (jax.numpy.asarray(array, case.arithmetic.dtype, device=self.device) for array in (a, b))

            def call() -> None:
                with jax.default_matmul_precision(precision):
                    self.results[i] = function(left, right)

            return call

        return [call_with(i, *pair) for i, pair in enumerate(pairs)]

    def seconds(self, calls: list[Call], repeats: int) -> float:
        for call in calls:
            call()
        self.jax.block_until_ready(self.results)
        start = time.perf_counter()
        for i in range(repeats):
            calls[i % len(calls)]()
        self.jax.block_until_ready(self.results)
        return (time.perf_counter() - start) / repeats

    def release(self) -> None:
        self.results = []


PEERS = {"fastconv": Fastconv, "torch": Torch, "jax": JaxOnDevice}


def limits(clock: Clock) -> dict[str, object]:
    """The device, and what it reaches: bytes copied a second, and multiply-adds a second of matrix products."""
    number = cupy.cuda.Device().id
    found: dict[str, object] = {
        "gpu": cupy.cuda.runtime.getDeviceProperties(number)["name"].decode(),
        "compute_capability": cupy.cuda.Device().compute_capability,
        "driver": driver_version(),
        "cuda": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }

    def best(function: Callable[..., object], *arrays: Any) -> float:
        function(*arrays)  # which may load a library
        return min(clock.seconds([lambda: function(*arrays)], 10) for _ in range(5))

    size = 16 * int(cupy.cuda.Device().attributes["L2CacheSize"])
    found["copy_bandwidth"] = 2 * size / best(cupy.copyto, cupy.empty(size, np.uint8), cupy.zeros(size, np.uint8))
    try:
        import torch
    except ImportError:
        return found
    for name, arithmetic in KINDS.items():
        if name == "strict":
            continue  # the same in PyTorch
        a = torch.ones((8192, 8192), device="cuda", dtype=getattr(torch, arithmetic.dtype))
        torch.backends.cuda.matmul.allow_tf32 = arithmetic.tf32
        found[f"matmul_flops_{name}"] = 2 * 8192**3 / best(torch.mm, a, a)
    return found
