"""Times layers with fastconv and its peers, one process a library, asked in turn.

python benchmarks/run.py --shapes resnet50 --shapes vgg16 --json results.json
python benchmarks/run.py n1h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1 --peers litert,torch --threads 1
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[0] = str(HERE)

from machine import measure  # noqa: E402
from peers import PEERS  # noqa: E402

from fastconv._options import PRECISIONS  # noqa: E402
from fastconv._problem import ConvProblem  # noqa: E402

DIRECTIONS = ("forward", "backprop_input", "backprop_filter")
DTYPES = ("float32", "float64", "float16", "bfloat16", "int32")


class Worker:
    """One library in its own process."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self._answer()["version"]

    def _answer(self) -> dict:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} stopped with exit status {self.process.wait()}")
        return json.loads(line)

    def ask(self, **request: object) -> dict:
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def read_shapes(name: str) -> list[str]:
    path = Path(name)
    if not path.exists():
        path = HERE / "shapes" / f"{name}.txt"
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def write_figures(path: str, **figures: object) -> None:
    """The figures as JSON, with the command that measured them."""
    isa = os.environ.get("FASTCONV_ISA")
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    figures["command"] = f"FASTCONV_ISA={isa} {command}" if isa else command
    Path(path).write_text(json.dumps(figures, indent=1) + "\n")


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def best_peak(threads: int, isa: str) -> dict[str, object]:
    """The machine, with the best figures of several tries: a busy neighbor would make the peak look low."""
    tries = [measure(threads, isa) for _ in range(5)]
    return max(tries, key=lambda found: found.get("peak_flops", 0.0))


def start_workers(names: list[str], threads: int) -> list[Worker]:
    for name in names:
        if name not in PEERS:
            raise SystemExit(f"--peers: {name!r} is not one of {', '.join(PEERS)}")
    workers = []
    for name in names:
        try:
            workers.append(Worker(name, threads))
        except RuntimeError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return workers


def measure_layer(
    workers: list[Worker], case: dict[str, str], rounds: int, seconds: float
) -> tuple[dict[str, float], int]:
    """The best time of each library that can compute the case, in seconds; and fastconv's bytes of scratch."""
    answers = [(worker, worker.ask(**case)) for worker in workers]
    able = [worker for worker, answer in answers if answer["ok"]]
    best = {worker.name: math.inf for worker in able}
    for _ in range(rounds):
        for worker in able:
            best[worker.name] = min(best[worker.name], worker.ask(measure=seconds)["best"])
    return best, answers[0][1]["scratch"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help="such as n1h8w8c4_k3x3f4_s1x1_d1x1_p1,1,1,1_g1")
    parser.add_argument("--shapes", action="append", default=[], metavar="FILE", help="a file, or a name in shapes/")
    parser.add_argument("--peers", default=",".join(name for name in PEERS if name != "fastconv"))
    parser.add_argument("--direction", choices=DIRECTIONS, default=DIRECTIONS[0])
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="peers that lack it are left out")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="fastconv's")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5, help="times that each library is asked")
    parser.add_argument("--seconds", type=float, default=0.1, help="time that each library gets when asked")
    parser.add_argument("--json", metavar="FILE", help="where to write the figures")
    arguments = parser.parse_args()
    tokens = [token for name in arguments.shapes for token in read_shapes(name)] + arguments.problems
    tokens = tokens or read_shapes("resnet50")

    machine = best_peak(arguments.threads, os.environ.get("FASTCONV_ISA", ""))
    peak = machine.get("peak_flops")
    print(", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in machine.items()))
    peers = [name for name in arguments.peers.split(",") if name]
    workers = start_workers(["fastconv", *peers], arguments.threads)
    if not workers or workers[0].name != "fastconv":
        raise SystemExit("fastconv itself cannot be started")
    names = [worker.name for worker in workers]
    versions = {worker.name: worker.version for worker in workers}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{'GFLOP/s':46s}" + "".join(f"{name:>9s}" for name in names) + "   % peak  scratch MB  ratio  best peer")

    layers, ratios, percents = [], [], []
    for token in tokens:
        flops = 2 * ConvProblem.parse(token).multiply_adds
        case = {
            "prepare": token,
            "direction": arguments.direction,
            "dtype": arguments.dtype,
            "precision": arguments.precision,
        }
        best, scratch = measure_layer(workers, case, arguments.rounds, arguments.seconds)
        layers.append({"problem": token, "flops": flops, "seconds": best, "scratch_bytes": scratch})
        rivals = {name: time for name, time in best.items() if name != "fastconv"}
        line = f"{token:46s}"
        line += "".join(f"{flops / best[n] * 1e-9:9.1f}" if n in best else f"{'-':>9s}" for n in names)
        if isinstance(peak, float):
            percents.append(flops / best["fastconv"] / peak)
            line += f"{100 * percents[-1]:9.1f}"
        line += f"{scratch / 2**20:12.1f}"
        if rivals:
            winner = min(rivals, key=rivals.__getitem__)
            ratios.append(rivals[winner] / best["fastconv"])
            line += f"{ratios[-1]:7.2f}  {winner}"
        print(line, flush=True)
    summary = [f"{100 * geometric_mean(percents):.1f} % of peak"] if percents else []
    summary += [f"{geometric_mean(ratios):.3f} of the best peer"] if ratios else []
    print("geometric mean: " + ", ".join(summary))
    for worker in workers:
        worker.stop()
    if arguments.json:
        asked = {name: getattr(arguments, name) for name in ("direction", "dtype", "precision")}
        write_figures(arguments.json, **asked, machine=machine, versions=versions, layers=layers)


if __name__ == "__main__":
    main()
