"""One library in a process of its own: answers each JSON line on standard input with one on standard output.

``{"prepare": token, "direction": "forward", "dtype": "float32", "precision": "default"}`` answers ``{"ok": true}``, or
false where the library cannot compute that, and in fastconv's process ``"scratch"``, the bytes of memory that a call
takes beside its result; the precision is fastconv's and means nothing to its peers;
``{"measure": seconds}`` answers ``{"best": seconds, "mean": seconds}``, of the calls made in that time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def operands(problem, direction: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Two of: images like the output of a ReLU (half of it zeros), centered filters, centered output gradients."""
    if dtype == "bfloat16":
        import ml_dtypes  # noqa: F401, which makes NumPy know the name
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((problem.n, problem.h, problem.w, problem.c), dtype=np.float32), 0)
    w = rng.standard_normal((problem.kh, problem.kw, problem.c // problem.groups, problem.f), dtype=np.float32)
    dy = rng.standard_normal((problem.n, problem.oh, problem.ow, problem.f), dtype=np.float32)
    if dtype == "int32":
        x, w, dy = (np.round(100 * array) for array in (x, w, dy))
    x, w, dy = (array.astype(dtype) for array in (x, w, dy))
    return {"forward": (x, w), "backprop_input": (w, dy), "backprop_filter": (x, dy)}[direction]


def main() -> None:
    name, threads = sys.argv[1], int(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):  # for JAX, which takes no number of threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["OMP_NUM_THREADS"] = str(threads)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    sys.path[0] = str(Path(__file__).parent)
    from peers import PEERS

    from fastconv import options
    from fastconv._cpu import _core
    from fastconv._problem import ConvProblem

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    peer = PEERS[name](threads)
    answer(version=peer.version)
    call = None
    precision = contextlib.ExitStack()
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            problem = ConvProblem.parse(request["prepare"])
            direction = request["direction"]
            prepare = getattr(peer, direction, None)
            call = None
            precision.close()
            precision.enter_context(options(precision=request["precision"]))
            try:
                if prepare is not None and request["dtype"] in peer.dtypes:
                    call = prepare(problem, *operands(problem, direction, request["dtype"]))
                if call is not None:
                    call()
            except Exception as error:  # any library, any reason: said, and left out of the comparison
                print(f"{name}: {request['prepare']}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
                call = None
            answer(ok=call is not None, scratch=_core.scratch_bytes() if name == "fastconv" else None)
        else:
            best, calls, began = float("inf"), 0, time.perf_counter()
            while True:
                start = time.perf_counter()
                call()
                now = time.perf_counter()
                best, calls = min(best, now - start), calls + 1
                if now > began + request["measure"]:
                    break
            answer(best=best, mean=(now - began) / calls)


if __name__ == "__main__":
    main()
