"""Times layers on a machine whose cores other processes keep busy, and in several processes at a time.

python benchmarks/busy.py
python benchmarks/busy.py n1h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1 --peers tf,torch --neighbors 2 --processes 4
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path[0] = str(Path(__file__).parent)

from machine import cpu_name  # noqa: E402
from run import Worker, start_workers, write_figures  # noqa: E402

# An image filter and a layer, both worth two threads, and a layer of some 20 us.
PROBLEMS = (
    "n3h512w512c1_k3x3f1_s1x1_d1x1_p1,1,1,1_g1",
    "n1h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1",
    "n1h14w14c64_k1x1f64_s1x1_d1x1_p0,0,0,0_g1",
)


@contextlib.contextmanager
def neighbors(count: int) -> Iterator[None]:
    """Keeps so many cores busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def mean_seconds(workers: list[Worker], seconds: float) -> float:
    """Of one call, of all workers together, which call at the same time."""
    with concurrent.futures.ThreadPoolExecutor(len(workers)) as pool:
        answers = list(pool.map(lambda worker: worker.ask(measure=seconds), workers))
    return 1 / sum(1 / answer["mean"] for answer in answers)


def main() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help="such as n1h8w8c4_k3x3f4_s1x1_d1x1_p1,1,1,1_g1")
    parser.add_argument("--peers", default="litert,ort,torch,tf", help="libraries beside fastconv")
    parser.add_argument("--threads", type=int, default=cores)
    parser.add_argument("--neighbors", type=int, default=cores, help="processes that keep a core busy each")
    parser.add_argument("--processes", type=int, default=4, help="of a library that call at the same time")
    parser.add_argument("--rounds", type=int, default=3, help="times that each library is asked")
    parser.add_argument("--seconds", type=float, default=1.0, help="time that each library gets when asked")
    parser.add_argument("--json", metavar="FILE", help="where to write the figures")
    arguments = parser.parse_args()
    print(f"{cpu_name()}, {cores} cores, {arguments.threads} threads; the mean of a call, least of {arguments.rounds}")
    together = f"{arguments.processes} processes"
    print(f"{'ms':46s}{'':12s}{'quiet':>10s}{'busy':>10s}{together:>14s}, calls/s")
    layers, versions = [], {}
    for name in ["fastconv", *filter(None, arguments.peers.split(","))]:
        workers = start_workers([name] * max(arguments.processes, 1), arguments.threads)
        for token in (arguments.problems or PROBLEMS) if workers else ():
            versions[name] = workers[0].version
            case = {"prepare": token, "direction": "forward", "dtype": "float32", "precision": "default"}
            if not all(worker.ask(**case)["ok"] for worker in workers):
                continue
            figures = {"quiet": [], "busy": [], "together": []}
            for _ in range(arguments.rounds):
                figures["quiet"].append(mean_seconds(workers[:1], arguments.seconds))
                with neighbors(arguments.neighbors):
                    figures["busy"].append(mean_seconds(workers[:1], arguments.seconds))
                figures["together"].append(mean_seconds(workers, arguments.seconds))
            best = {situation: min(found) for situation, found in figures.items()}
            layers.append({"problem": token, "library": name, "seconds": best})
            line = f"{token:46s}{name:12s}{1e3 * best['quiet']:10.3f}{1e3 * best['busy']:10.3f}"
            print(line + f"{1 / best['together']:14.0f}", flush=True)
        for worker in workers:
            worker.stop()
    if arguments.json:
        asked = {name: getattr(arguments, name) for name in ("threads", "neighbors", "processes")}
        write_figures(arguments.json, **asked, cpu=cpu_name(), versions=versions, layers=layers)


if __name__ == "__main__":
    main()
