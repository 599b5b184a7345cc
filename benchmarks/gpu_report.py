"""Proves and measures the CUDA code on this machine's GPU, within some minutes, and writes a page about it.

python benchmarks/gpu_report.py --out DIR [--minutes 8]

writes ``DIR/report.md``, and for each stage ``DIR/STAGE.jsonl`` (a line for each item as it ends) and ``DIR/STAGE.log``
(what its processes print). It needs fastconv, CuPy, pytest, hypothesis and ml_dtypes; PyTorch brings cuDNN's times,
and compute-sanitizer checks accesses, where they are installed. Nothing is downloaded. The exit status is 0 if nothing
that was run is wrong, 1 if something is, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent

from gpu_page import Stage, page  # noqa: E402
from gpu_stages import SANITIZERS, sanitizer, sanitizers_verdict  # noqa: E402
from stages import NotHereError, append, describe, ended, run_stage  # noqa: E402

# Each stage with its share of the time that is left when it begins, and its items' share of that: what a stage leaves
# goes to those after it. Wrong values come to light first: kernels that give them need no times.
STAGES = {
    "machine": (0.0, 1.0),  # as long as an item gets at least
    "tests": (0.35, 0.4),
    "layers": (0.5, 0.3),
    "overhead": (0.15, 1.0),
    "cifar": (0.2, 1.0),
    "memcheck": (0.3, 1.0),
    "racecheck": (0.4, 1.0),
    "initcheck": (0.5, 1.0),
    "synccheck": (1.0, 1.0),
}
_LEAST_ITEM = 60.0  # seconds that an item gets in any case: before the first, a process imports the libraries


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    parser.add_argument("--minutes", type=float, default=8.0, help="the most that it may take; 8 by default")
    parser.add_argument("--stages", default=",".join(STAGES), help=f"some of {','.join(STAGES)}")
    parser.add_argument("--tests", metavar="EXPRESSION", help="the tests to run: pytest's -k")
    parser.add_argument("--shapes", metavar="FILE", help="layers to time, as they stand, in place of the networks'")
    arguments = parser.parse_args()
    asked = arguments.stages.split(",")
    unknown = [name for name in asked if name not in STAGES]
    chosen = [name for name in STAGES if name == "machine" or name in asked]
    if unknown:
        parser.error(f"--stages: there is no {unknown[0]!r}; the stages are {', '.join(STAGES)}")
    if not arguments.minutes > 0:
        parser.error(f"--minutes: got {arguments.minutes}, wanted a positive number")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit("stopped"))  # which ends the stage's processes too

    end = time.monotonic() + 60 * arguments.minutes
    command = " ".join(["python", "benchmarks/gpu_report.py", *sys.argv[1:]])
    date = f"{datetime.datetime.now():%Y-%m-%d %H:%M}"
    arguments.out.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, str | None] = {}

    def write() -> None:
        if outcomes["machine"] is None:
            return  # there may be no GPU, and then no page
        stages = {name: Stage(name, record(name), outcome) for name, outcome in outcomes.items()}
        try:
            (arguments.out / "report.md").write_text(page(command, date, stages))
        except Exception as error:  # the records are there, and the next stage can still add to them
            print(f"the page could not be written: {describe(error)}", file=sys.stderr)

    def record(name: str) -> Path:
        return arguments.out / f"{name}.jsonl"

    for name in chosen:
        for suffix in (".jsonl", ".log"):
            record(name).with_suffix(suffix).unlink(missing_ok=True)
    for name in chosen:
        share, item_share = STAGES[name]
        left = max(end - time.monotonic(), 0.0)
        seconds = left if name == chosen[-1] else _LEAST_ITEM if name == "machine" else left * share
        outcomes[name] = None
        child = [sys.executable, str(HERE / "gpu_stages.py"), name, "--record", str(record(name))]
        child += ["--tests", arguments.tests] if arguments.tests else []
        child += ["--shapes", arguments.shapes] if arguments.shapes else []
        item_seconds = max(item_share * seconds, _LEAST_ITEM)
        try:
            before = sanitizer(name) if name in SANITIZERS else []
            outcomes[name] = run_stage([*before, *child], record(name), seconds, item_seconds, write)
        except NotHereError as error:
            outcomes[name] = str(error)
        else:
            if name in SANITIZERS:
                status, reason = sanitizers_verdict(record(name))
                append(record(name), item=f"what {name} says", status=status, seconds=None, reason=reason)
        if name == "machine":
            there = ended(record(name))
            if not there or there[0]["status"] != "ok":
                reason = there[0]["reason"] if there else outcomes[name]
                print(f"no report: {reason}", file=sys.stderr)
                return 2
        write()
        print(f"{name}: {Stage(name, record(name), outcomes[name]).counts()}", flush=True)
    print(f"report: {arguments.out / 'report.md'}")
    return int(any(Stage(name, record(name), outcomes[name]).is_wrong for name in chosen))


if __name__ == "__main__":
    sys.exit(main())
