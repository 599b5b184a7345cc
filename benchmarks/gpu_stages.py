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
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from stages import NotHereError, Runner

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
    from gpu_peers import driver_version

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
# The largest difference from strict float32 sums, beside the largest sum, that rounding may explain.
TOLERANCE = {"float32": 1e-4, "tf32": 1e-2, "float16": 1e-2, "bfloat16": 4e-2}
ROUNDS = 5  # times that each library is asked


def layers(shapes: str | None) -> Items:
    """The machine's limits, then each layer of PLAN, or of the caller's file as it stands, forward in float32."""
    import cupy
    from gpu_peers import KINDS, Case, Clock, limits
    from run import read_shapes
    from run_gpu import start_peers

    from fastconv._problem import ConvProblem

    peers = start_peers(["fastconv", "torch"])
    found: Items = {"limits": lambda: {"limits": limits(Clock())}}
    plan = PLAN if shapes is None else (Sweep(FORWARD, ("float32",), tuple(read_shapes(shapes)), None),)
    for sweep in plan:
        if sweep.implementation == "warpgroup" and cupy.cuda.Device().compute_capability != "90":
            continue
        for arithmetic, direction, token in itertools.product(sweep.kinds, sweep.directions, sweep.layers):
            problem = ConvProblem.parse(token)
            case = Case(problem._replace(n=sweep.batch or problem.n), direction, KINDS[arithmetic])
            name = " ".join(filter(None, (direction, arithmetic, sweep.implementation, str(case.problem))))
            found[name] = functools.partial(_layer, peers, case, arithmetic, sweep.implementation)
    return found


def _layer(peers: dict[str, Any], case: Any, arithmetic: str, implementation: str | None) -> dict[str, Any]:
    """The times of a layer, after its result was compared with strict sums."""
    from device_tests import recorded_kernels
    from run_gpu import measure_case, traffic

    import fastconv

    try:
        with fastconv.options(precision=case.arithmetic.precision, implementation=implementation):
            with recorded_kernels() as kernels:
                difference = _difference(peers["fastconv"], case)
            most = TOLERANCE.get(arithmetic)
            kernels = list(kernels)
            assert most is None or difference <= most, (
                f"wrong values: largest difference {difference:.2g} of the largest sum, {most:g} is allowed;"
                f" {', '.join(kernels)}"
            )
            seconds, failures = measure_case(peers, case, ROUNDS)
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
        "kernels": kernels,
    }


def _difference(peer: Any, case: Any) -> float:
    """The largest difference of a result from strict float32 sums by other kernels, beside the largest of these."""
    import cupy
    from worker import operands

    import fastconv

    pair = [cupy.asarray(array.astype(case.arithmetic.dtype)) for array in operands(*case[:2], "float32")]
    got = peer.compute(case, *pair).astype(np.float32)
    with fastconv.options(precision="strict", implementation="implicit_gemm"):
        want = peer.compute(case, *(array.astype(np.float32) for array in pair))
    largest = float(abs(want).max())
    return float(abs(got - want).max()) / largest if largest else 0.0


# Whether kernels touch what they may

SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
# Kernels run a hundred times slower under these tools: two element types of products, and one test each of the others.
SANITIZED = "every_direction and (float32 or float16) or activation_are_fused or pools_keep or biases and float32"


def sanitizers(record: Path, expression: str | None) -> Items:
    """One test of each kind under each tool."""
    return {tool: functools.partial(_sanitized, tool, record, expression) for tool in SANITIZERS}


def _sanitized(tool: str, record: Path, expression: str | None) -> dict[str, Any]:
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise NotHereError("compute-sanitizer is not installed")
    tests = record.with_name(f"{record.stem}-{tool}.jsonl")
    tests.unlink(missing_ok=True)
    command = [program, "--tool", tool, sys.executable, __file__, "tests", "--record", str(tests), "--first-only"]
    command += ["--tests", expression or SANITIZED]
    result = subprocess.run(command, capture_output=True, text=True)
    output = result.stdout + result.stderr
    tests.with_suffix(".log").write_text(output)
    summary = re.findall(r"=+ ((?:ERROR|RACECHECK) SUMMARY: .*)", output)
    if not summary:
        raise RuntimeError(f"{tool} gave no summary: {' '.join(output[-400:].split())}")
    if any(re.search(r"\b[1-9]\d* (error|hazard)", line) for line in summary):
        words = re.findall(r"^=+ (.*)$", output, re.MULTILINE)
        said = [line.strip() for line in words if not line.startswith(("COMPUTE-SANITIZER", "ERROR SUM", "RACECHECK"))]
        raise RuntimeError(f"{summary[-1]}; first: {' '.join(said[:6])}")
    return {"summary": summary[-1]}


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
    parser.add_argument("stage", choices=["machine", "overhead", "tests", "layers", "sanitizer", "cifar"])
    parser.add_argument("--record", type=Path, required=True, help="where items are recorded")
    parser.add_argument("--shapes", help="layers in place of the networks'")
    parser.add_argument("--tests", help="pytest's -k: which tests")
    parser.add_argument("--first-only", action="store_true", help="one test of each kind")
    arguments = parser.parse_args()
    if arguments.stage == "machine":
        Runner(arguments.record).run({"machine": machine})
        return 0
    runner = Runner(arguments.record, is_broken)
    if arguments.stage == "tests":
        from device_tests import run

        return run(str(TESTS), runner, arguments.first_only, arguments.tests)
    items: dict[str, Callable[[], Items]] = {
        "overhead": overheads,
        "layers": lambda: layers(arguments.shapes),
        "sanitizer": lambda: sanitizers(arguments.record, arguments.tests),
        "cifar": lambda: {"cifar": cifar},
    }
    runner.run(items[arguments.stage]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
