"""Times layers on a GPU with fastconv, given CuPy arrays, and its peers, in turn.

python benchmarks/run_gpu.py --shapes resnet50 --batch 32 --arithmetic float32 --json results.json
python benchmarks/run_gpu.py --shapes resnet50 --batch 256 --direction backprop_filter --arithmetic float16
python benchmarks/run_gpu.py --overhead
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from statistics import median

import numpy as np

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take the others' memory
sys.path[0] = str(Path(__file__).parent)

import cupy  # noqa: E402
from gpu_peers import KINDS, PEERS, Case, Clock, Fastconv, limits  # noqa: E402
from run import DIRECTIONS, geometric_mean, read_shapes, write_figures  # noqa: E402
from worker import operands  # noqa: E402

import fastconv  # noqa: E402
from fastconv._problem import ConvProblem  # noqa: E402

_REPEATS = 256  # calls between two events at most, of two launches each; a device's queue holds about a thousand


def traffic(case: Case) -> int:
    """The bytes of both operands and of the result."""
    p = case.problem
    elements = p.n * p.h * p.w * p.c + p.kh * p.kw * (p.c // p.groups) * p.f + p.n * p.oh * p.ow * p.f
    return elements * np.dtype("float16" if case.arithmetic.dtype == "bfloat16" else case.arithmetic.dtype).itemsize


def measure_case(peers: dict[str, object], case: Case, rounds: int) -> tuple[dict[str, float], dict[str, str]]:
    """The median seconds of each library that can compute the case, and what the others said."""
    cache = cupy.cuda.Device().attributes["L2CacheSize"]
    copies = min(max(math.ceil(2 * cache / traffic(case)), 1), _REPEATS)
    pair = operands(case.problem, case.direction, "float32")
    able, times, failures = {}, {}, {}
    for name, peer in peers.items():
        try:
            calls = peer.prepare(case, [pair] * copies)
            for call in calls:
                call()  # compiles, or looks for the fastest algorithm
            estimate = peer.seconds(calls, len(calls))
        except Exception as error:  # any library, any reason: said, and left out of the comparison
            failures[name] = f"{type(error).__name__}: {error}"[:300]
            continue
        repeats = min(max(int(0.02 / estimate), copies, 3), _REPEATS)
        able[name], times[name] = (peer, calls, repeats), []
    for _ in range(rounds):
        for name, (peer, calls, repeats) in able.items():
            times[name].append(peer.seconds(calls, repeats))
    return {name: median(found) for name, found in times.items()}, failures


def start_peers(names: list[str]) -> dict[str, object]:
    """Those of the libraries that are here, by name; the others are named on standard error."""
    peers = {}
    for name in names:
        try:
            peers[name] = PEERS[name]()
        except (ImportError, RuntimeError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return peers


def overhead(direction: str) -> float:
    """Seconds that a call of the smallest layer costs the host, which need not wait for the device."""
    p = ConvProblem.parse("n1h8w8c16_k3x3f16_s1x1_d1x1_p1,1,1,1_g1")
    peer = Fastconv()
    (call,) = peer.prepare(Case(p, direction, KINDS["float32"]), [operands(p, direction, "float32")])
    call()
    return peer.host_seconds(call)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help="such as n1h8w8c4_k3x3f4_s1x1_d1x1_p1,1,1,1_g1")
    parser.add_argument("--shapes", action="append", default=[], metavar="FILE", help="a file, or a name in shapes/")
    parser.add_argument("--batch", type=int, help="images, in place of those that the shapes tell")
    parser.add_argument("--peers", default=",".join(name for name in PEERS if name != "fastconv"))
    parser.add_argument("--direction", choices=DIRECTIONS, default=DIRECTIONS[0])
    parser.add_argument("--arithmetic", choices=KINDS, default="float32", help="like against like in all")
    parser.add_argument("--implementation", help="fastconv's, such as warpgroup; its own choice otherwise")
    parser.add_argument("--rounds", type=int, default=7, help="times that each library is asked")
    parser.add_argument("--overhead", action="store_true", help="time calls on the host instead")
    parser.add_argument("--json", metavar="FILE", help="where to write the figures")
    arguments = parser.parse_args()
    if arguments.overhead:
        for direction in DIRECTIONS:
            print(f"{direction:16s} {1e6 * overhead(direction):6.1f} us a call")
        return
    tokens = [token for name in arguments.shapes for token in read_shapes(name)] + arguments.problems
    tokens = tokens or read_shapes("resnet50")

    machine = limits(Clock())
    print(", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in machine.items()))
    peers = start_peers(["fastconv", *filter(None, arguments.peers.split(","))])
    versions = {name: peer.version for name, peer in peers.items()}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{'microseconds':46s}" + "".join(f"{name:>10s}" for name in peers) + "   TFLOP/s  % copy  ratio  best peer")

    layers, ratios = [], {name: [] for name in peers if name != "fastconv"}
    for token in tokens:
        problem = ConvProblem.parse(token)
        if arguments.batch:
            problem = problem._replace(n=arguments.batch)
        case = Case(problem, arguments.direction, KINDS[arguments.arithmetic])
        with fastconv.options(precision=case.arithmetic.precision, implementation=arguments.implementation):
            seconds, failures = measure_case(peers, case, arguments.rounds)
        for name, reason in failures.items():
            print(f"{name}: {problem}: {reason}", file=sys.stderr)
        for peer in peers.values():
            peer.release()  # what the calls held
        flops = 2 * problem.multiply_adds
        layers.append({"problem": str(problem), "flops": flops, "bytes": traffic(case), "seconds": seconds})
        line = f"{problem!s:46s}"
        line += "".join(f"{1e6 * seconds[name]:10.1f}" if name in seconds else f"{'-':>10s}" for name in peers)
        mine = seconds.get("fastconv")
        if mine is not None:
            share = traffic(case) / mine / float(machine["copy_bandwidth"])
            line += f"{1e-12 * flops / mine:10.1f}{100 * share:8.1f}"
            rivals = {name: found for name, found in seconds.items() if name != "fastconv"}
            for name, found in rivals.items():
                ratios[name].append(found / mine)
            if rivals:
                winner = min(rivals, key=rivals.__getitem__)
                line += f"{rivals[winner] / mine:7.2f}  {winner}"
        print(line, flush=True)
    for name, found in ratios.items():
        if found:
            print(f"geometric mean: {geometric_mean(found):.3f} of {name}")
    if arguments.json:
        asked = {name: getattr(arguments, name) for name in ("direction", "arithmetic", "implementation")}
        write_figures(arguments.json, **asked, machine=machine, versions=versions, layers=layers)


if __name__ == "__main__":
    main()
