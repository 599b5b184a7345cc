"""What each stage of the GPU report runs: ``gpu_stages.py STAGE --record FILE`` in a process of its own."""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import itertools
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import driver_version
from stages import NotHereError, Runner, append, ended

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests" / "cuda" / "test_device.py"
EXAMPLE = HERE.parent / "examples" / "cifar10_throughput.py"
Items = dict[str, Callable[[], dict[str, Any] | None]]


def is_broken() -> bool:
    """Whether the device takes no more work from this process, as after an access outside its memory."""
    import cupy

    try:
        cupy.cuda.get_current_stream().synchronize()
    except cupy.cuda.runtime.CUDARuntimeError:
        return True
    return False


# What is there


def machine() -> dict[str, Any]:
    """The GPU and the software; NotHereError says what is missing."""
    try:
        import cupy
    except ImportError as error:
        raise NotHereError(f"CuPy cannot be imported: {error}") from None
    try:
        number = cupy.cuda.Device().id
        properties = cupy.cuda.runtime.getDeviceProperties(number)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise NotHereError(f"CuPy finds no device: {error}") from None
    return {
        "GPU": properties["name"].decode(),
        "compute capability": cupy.cuda.Device().compute_capability,
        "multiprocessors": cupy.cuda.Device().attributes["MultiProcessorCount"],
        "memory, GiB": round(properties["totalGlobalMem"] / 2**30, 1),
        "driver": driver_version(),
        "CUDA runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "NVRTC": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
        "CuPy": cupy.__version__,
        "fastconv": _version("fastconv"),
        "NumPy": np.__version__,
        "PyTorch": _version("torch"),
        "JAX": _version("jax"),
        "Python": platform.python_version(),
        "CPU cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "compute-sanitizer": shutil.which("compute-sanitizer") or "not installed",
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


# What a call costs the host


def overheads() -> Items:
    """The host's share of a call: of each direction, and of a function of single elements."""
    import cupy
    from run_gpu import DIRECTIONS, Fastconv, overhead

    from fastconv import nn

    def relu() -> float:
        x = cupy.ones((1, 8, 8, 16), np.float32)
        nn.relu(x)
        return Fastconv().host_seconds(lambda: nn.relu(x))

    calls = {direction: functools.partial(overhead, direction) for direction in DIRECTIONS}
    return {name: lambda call=call: {"host_seconds": call()} for name, call in {**calls, "relu": relu}.items()}


# How fast layers are

RESNET = (
    "n1h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1",
    "n1h56w56c256_k1x1f64_s1x1_d1x1_p0,0,0,0_g1",
    "n1h28w28c128_k3x3f128_s1x1_d1x1_p1,1,1,1_g1",
    "n1h14w14c256_k1x1f1024_s1x1_d1x1_p0,0,0,0_g1",
    "n1h7w7c512_k3x3f512_s1x1_d1x1_p1,1,1,1_g1",
)
DEPTHWISE = (
    "n1h112w112c96_k3x3f96_s2x2_d1x1_p0,1,0,1_g96",
    "n1h56w56c144_k3x3f144_s1x1_d1x1_p1,1,1,1_g144",
    "n1h14w14c576_k3x3f576_s1x1_d1x1_p1,1,1,1_g576",
)
FIRST = (
    "n1h224w224c3_k7x7f64_s2x2_d1x1_p2,3,2,3_g1",
    "n1h224w224c3_k3x3f32_s2x2_d1x1_p0,1,0,1_g1",
    "n1h224w224c3_k3x3f64_s1x1_d1x1_p1,1,1,1_g1",
)
VGG = ("n1h112w112c128_k3x3f128_s1x1_d1x1_p1,1,1,1_g1", "n1h28w28c512_k3x3f512_s1x1_d1x1_p1,1,1,1_g1")


class Sweep(NamedTuple):
    """Layers to time in every one of the directions and kinds of arithmetic."""

    directions: tuple[str, ...]
    kinds: tuple[str, ...]  # of KINDS in gpu_peers.py
    layers: tuple[str, ...]
    batch: int | None = 32  # None: as the layers stand
    implementation: str | None = None  # fastconv's; None: its own choice


FORWARD, GRADIENTS = ("forward",), ("backprop_input", "backprop_filter")
PLAN = (  # what matters most first
    Sweep(FORWARD, ("float32", "float16", "tf32"), RESNET),
    Sweep(GRADIENTS, ("float32", "float16"), RESNET),
    Sweep(FORWARD, ("float16",), RESNET, implementation="warpgroup"),
    Sweep(FORWARD, ("float32", "float16"), DEPTHWISE),
    Sweep(FORWARD, ("float32", "float16"), FIRST + VGG),
    Sweep(FORWARD, ("strict", "bfloat16"), RESNET),
    Sweep(GRADIENTS, ("float16",), RESNET, implementation="warpgroup"),
    Sweep(FORWARD, ("float32", "float16"), RESNET + DEPTHWISE, batch=1),
    Sweep(GRADIENTS, ("tf32", "bfloat16", "strict"), RESNET),
    Sweep(GRADIENTS, ("float32",), DEPTHWISE + FIRST + VGG),
    Sweep(FORWARD, ("bfloat16",), RESNET, implementation="warpgroup"),
)
# The largest difference from exact sums, beside the largest sum, that rounding may explain.
TOLERANCE = {"float32": 1e-4, "strict": 1e-4, "tf32": 1e-2, "float16": 1e-2, "bfloat16": 4e-2}
ROUNDS = 5  # times that each library is asked


def layers(record: Path, shapes: str | None) -> Items:
    """The machine's limits, then each layer of PLAN, or of the caller's file as it stands, forward in float32."""
    import cupy
    from gpu_peers import KINDS, Case, Clock, limits
    from run import read_shapes
    from run_gpu import start_peers

    from fastconv._problem import ConvProblem

    peers = start_peers(["fastconv", "torch"])
    tell = functools.partial(_tell_kernel, record)
    found: Items = {"limits": lambda: {"limits": limits(Clock())}}
    plan = PLAN if shapes is None else (Sweep(FORWARD, ("float32",), tuple(read_shapes(shapes)), None),)
    for sweep in plan:
        if sweep.implementation == "warpgroup" and cupy.cuda.Device().compute_capability != "90":
            continue
        for arithmetic, direction, token in itertools.product(sweep.kinds, sweep.directions, sweep.layers):
            problem = ConvProblem.parse(token)
            case = Case(problem._replace(n=sweep.batch or problem.n), direction, KINDS[arithmetic])
            name = " ".join(filter(None, (direction, arithmetic, sweep.implementation, str(case.problem))))
            found[name] = functools.partial(_layer, peers, case, arithmetic, sweep.implementation, tell)
    return found


def _tell_kernel(record: Path, kernel: str) -> None:
    append(record, kernel=kernel)


def _layer(
    peers: dict[str, Any], case: Any, arithmetic: str, implementation: str | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """The times of a layer, after its values were looked at."""
    from device_tests import kernels_told_to
    from gpu_check import largest_difference
    from run_gpu import measure_case, traffic

    import fastconv

    precision = case.arithmetic.precision
    try:
        with fastconv.options(precision=precision, implementation=implementation):
            difference = largest_difference(peers["fastconv"], case, kernels_told_to(tell))
            most = TOLERANCE[arithmetic]
            assert difference <= most, f"wrong values: largest difference {difference:.2g} of the largest sum"
            seconds, failures = measure_case(peers, case, ROUNDS)
    except Exception as error:
        asked = f"--direction {case.direction} --dtype {case.arithmetic.dtype} --precision {precision}"
        asked += f" --implementation {implementation}" if implementation else ""
        error.add_note(f"tests/cuda/reproduce.py {case.problem} {asked}")
        raise
    finally:
        for peer in peers.values():
            peer.release()
    if "fastconv" in failures:
        raise RuntimeError(failures["fastconv"])
    return {
        "direction": case.direction,
        "arithmetic": arithmetic,
        "implementation": implementation,
        "problem": str(case.problem),
        "flops": 2 * case.problem.multiply_adds,
        "bytes": traffic(case),
        "times": seconds,
        "failures": failures,
        "difference": difference,
    }


# Whether kernels touch what they may

SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
# Kernels run a hundred times slower under these tools: a few small tests, which launch each kind of kernel.
SANITIZED = (
    "test_cuda_kernels.py::test_kernels_compute_every_direction[float32-n2h9w11c8_k3x3f16_s1x1_d1x1_p1,1,1,1_g1]",
    "test_cuda_kernels.py::test_kernels_compute_every_direction[float16-n2h9w11c8_k3x3f16_s1x1_d1x1_p1,1,1,1_g1]",
    "test_cuda_kernels.py::test_kernels_compute_every_direction[float32-n2h7w8c16_k3x3f16_s2x2_d1x1_p0,1,0,1_g16]",
    "test_relatives_on_device.py::test_pools_keep_nan_and_minus_infinity_in_their_windows",
    "test_relatives_on_device.py::test_biases_are_added_to_any_number_of_elements[N..C-float32]",
    "test_cuda_kernels.py::test_warpgroups_compute_every_direction[n1h9w9c16_k3x3f8_s2x2_d1x1_p0,1,0,1_g1-float16]",
    "test_cuda_kernels.py::test_kernels_compute_every_direction[float64-n2h9w11c8_k3x3f16_s1x1_d1x1_p1,1,1,1_g1]",
)


def sanitized_tests() -> list[str]:
    """Those in test_device.py, which has them of CuPy itself."""
    return [f"{TESTS}::{name.split('::')[1]}" for name in SANITIZED]


def sanitizer(tool: str) -> list[str]:
    """What stands before a command that is to run under the tool; NotHereError without it."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise NotHereError("compute-sanitizer is not installed")
    # CuPy asks for attributes that a device may not have, and passes over the errors.
    return [program, "--tool", tool, *(["--report-api-errors", "no"] if tool == "memcheck" else [])]


def sanitizers_verdict(record: Path) -> tuple[str, str]:
    """ "ok", "failed" or "skipped", and why, from what a tool and its tests have told, to their end or not."""
    log = record.with_suffix(".log")
    output = log.read_text(errors="replace") if log.exists() else ""
    summary = re.findall(r"^=+ ((?:ERROR|RACECHECK) SUMMARY: .*)", output, re.MULTILINE)
    words = re.findall(r"^=+ (.*)$", output, re.MULTILINE)
    said = [line.strip() for line in words if not line.startswith(("COMPUTE-SANITIZER", "ERROR SUM", "RACECHECK SUM"))]
    if any(re.search(r"\b[1-9]\d* (error|hazard)", line) for line in summary) or (said and not summary):
        return "failed", f"{' '.join(summary[-1:])} first: {' '.join(said[:6])}"
    if not summary:
        return "skipped", "the tool did not come to its summary"
    if not any(item["status"] == "ok" for item in ended(record)):
        return "failed", f"no test ended well under it, though it says: {summary[-1]}"
    return "ok", summary[-1]


# How fast a network trains


def cifar() -> dict[str, Any]:
    """Images a second of the example's network, and its first losses beside those for NumPy arrays."""
    spec = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    images, labels = example.batch()
    losses = [step(images, labels) for step in (example.fastconv_step(), example.cupy_step())]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    step, best = example.cupy_step(), float("inf")
    for _ in range(20):
        start = time.perf_counter()
        step(images, labels)
        best = min(best, time.perf_counter() - start)
    return {"images_per_second": len(images) / best, "losses": losses}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=["machine", "tests", "layers", "overhead", "cifar", *SANITIZERS])
    parser.add_argument("--record", type=Path, required=True, help="where items are recorded")
    parser.add_argument("--shapes", help="layers in place of the networks'")
    parser.add_argument("--tests", help="pytest's -k: which tests")
    arguments = parser.parse_args()
    if arguments.stage == "machine":
        Runner(arguments.record).run({"machine": machine})
        return 0
    runner = Runner(arguments.record, is_broken)
    if arguments.stage == "tests" or arguments.stage in SANITIZERS:
        from device_tests import run

        tests = [str(TESTS)] if arguments.stage == "tests" else sanitized_tests()
        return run(tests, runner, arguments.tests)
    items: dict[str, Callable[[], Items]] = {
        "layers": lambda: layers(arguments.record, arguments.shapes),
        "overhead": overheads,
        "cifar": lambda: {"cifar": cifar},
    }
    runner.run(items[arguments.stage]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
