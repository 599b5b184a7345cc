"""What a change did: two result files of run.py, layer by layer.

python benchmarks/compare.py before.json after.json
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path


def rates(path: str, library: str) -> dict[str, float]:
    """GFLOP/s of a library on each layer in a file."""
    layers = json.loads(Path(path).read_text())["layers"]
    return {
        layer["problem"]: layer["flops"] / layer["seconds"][library] * 1e-9
        for layer in layers
        if library in layer["seconds"]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--name", default="fastconv", help="the library to look at")
    arguments = parser.parse_args()
    before, after = (rates(path, arguments.name) for path in (arguments.before, arguments.after))
    common = [problem for problem in before if problem in after]
    if not common:
        raise SystemExit(f"the files have no layer of {arguments.name} in common")
    print(f"{'GFLOP/s of ' + arguments.name:50s}{'before':>9s}{'after':>9s}{'ratio':>8s}")
    for problem in sorted(common, key=lambda problem: after[problem] / before[problem]):
        ratio = after[problem] / before[problem]
        print(f"{problem:50s}{before[problem]:9.1f}{after[problem]:9.1f}{ratio:8.3f}")
    mean = math.exp(sum(math.log(after[problem] / before[problem]) for problem in common) / len(common))
    print(f"{'geometric mean':50s}{'':18s}{mean:8.3f}")


if __name__ == "__main__":
    main()
