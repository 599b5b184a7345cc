"""Errors of fastconv and TensorFlow, forward and of both gradients, layer by layer, against float64.

python benchmarks/accuracy.py --shapes resnet50 --json benchmarks/results/accuracy.json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import cpu_name

import fastconv
from fastconv import nn
from fastconv._problem import ConvProblem, conv_problem

FOLDER = Path(__file__).parent
SMALL = 1e7  # multiply-adds
DIRECTIONS = ("forward", "backprop_input", "backprop_filter")


class Errors(NamedTuple):
    """Root mean square and maximum of the error, as shares of the result's root mean square."""

    rms: float
    maximum: float


def layers(name: str = "*") -> list[str]:
    """The problems of the shape files of this name, each once."""
    lines = (line for file in sorted((FOLDER / "shapes").glob(name + ".txt")) for line in file.read_text().splitlines())
    return list(dict.fromkeys(token for line in lines if (token := line.split("#")[0].strip())))


def _operands(problem: ConvProblem, seed: int) -> dict[str, np.ndarray]:
    """An input as a layer gets it from a relu, filters, and a gradient of the output."""
    p, rng = problem, np.random.default_rng(seed)
    shapes = {"x": (p.n, p.h, p.w, p.c), "w": (p.kh, p.kw, p.c // p.groups, p.f), "dy": (p.n, p.oh, p.ow, p.f)}
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    return arrays | {"x": np.maximum(arrays["x"], 0)}


def _ours(direction: str, problem: ConvProblem, arrays: dict[str, np.ndarray]) -> np.ndarray:
    p = problem
    pads = [(0, 0), (p.pad_top, p.pad_bottom), (p.pad_left, p.pad_right), (0, 0)]
    geometry: dict[str, Any] = {"strides": (p.stride_h, p.stride_w), "dilations": (p.dilation_h, p.dilation_w)}
    x, w, dy = (arrays[name] for name in ("x", "w", "dy"))
    if direction == "forward":
        return nn.conv2d(x, w, padding=pads, **geometry)
    if direction == "backprop_input":
        return nn.conv2d_backprop_input(x.shape, w, dy, padding=pads, **geometry)
    return nn.conv2d_backprop_filter(x, w.shape, dy, padding=pads, **geometry)


def _is_same(problem: ConvProblem) -> bool:
    p = problem
    shapes = (p.n, p.h, p.w, p.c), (p.kh, p.kw, p.c // p.groups, p.f)
    return conv_problem(*shapes, (p.stride_h, p.stride_w), "SAME", (p.dilation_h, p.dilation_w), False) == p


def _tensorflow(direction: str, problem: ConvProblem, arrays: dict[str, np.ndarray]) -> np.ndarray | None:
    """TensorFlow's result in its default mode; None where it has none."""
    import tensorflow as tf

    p, ops = problem, tf.raw_ops
    pads = [0, 0, p.pad_top, p.pad_bottom, p.pad_left, p.pad_right, 0, 0]
    padding = "SAME" if _is_same(p) else "EXPLICIT" if any(pads) else "VALID"
    geometry: dict[str, Any] = {
        "strides": [1, p.stride_h, p.stride_w, 1],
        "padding": padding,
        "explicit_paddings": pads if padding == "EXPLICIT" else [],
        "dilations": [1, p.dilation_h, p.dilation_w, 1],
    }
    x, w, dy = (arrays[name] for name in ("x", "w", "dy"))
    depthwise = p.groups == p.c > 1
    prefix = "DepthwiseConv2dNative" if depthwise else "Conv2D"
    if depthwise:
        w = w.reshape(p.kh, p.kw, p.c, p.f // p.c)
    try:
        if direction == "forward":
            return getattr(ops, prefix)(input=x, filter=w, **geometry).numpy()
        if direction == "backprop_input":
            op = getattr(ops, prefix + "BackpropInput")
            return op(input_sizes=x.shape, filter=w, out_backprop=dy, **geometry).numpy()
        op = getattr(ops, prefix + "BackpropFilter")
        return op(input=x, filter_sizes=w.shape, out_backprop=dy, **geometry).numpy().reshape(arrays["w"].shape)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
        return None


def errors(direction: str, token: str) -> tuple[Errors, Errors | None]:
    """Those of fastconv and, if it computes the layer, of TensorFlow.

    Small layers are computed with several inputs, for the maximum of a few short sums is a matter of luck.
    """
    problem = ConvProblem.parse(token)
    draws = 8 if problem.multiply_adds < SMALL else 1
    ours, theirs, squares = [], [], []
    for seed in range(draws):
        arrays = _operands(problem, seed)
        exact = _ours(direction, problem, {name: array.astype(np.float64) for name, array in arrays.items()})
        squares.append(np.mean(exact**2))
        ours.append(_ours(direction, problem, arrays) - exact)
        result = _tensorflow(direction, problem, arrays)
        if result is not None:
            theirs.append(result - exact)
    size = float(np.sqrt(np.mean(squares)))

    def summary(found: list[np.ndarray]) -> Errors:
        rms = np.sqrt(np.mean([np.mean(error**2) for error in found]))
        return Errors(float(rms) / size, max(float(np.abs(error).max()) for error in found) / size)

    return summary(ours), summary(theirs) if theirs else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", action="append", help="a shape file's name; all if omitted")
    parser.add_argument("--json", metavar="FILE", help="where to write the figures")
    arguments = parser.parse_args()
    tokens = list(dict.fromkeys(token for name in arguments.shapes or ["*"] for token in layers(name)))
    rows: list[dict[str, Any]] = []
    print(f"{'relative error':45s}{'direction':>16s}{'RMS':>10s}{'TensorFlow':>12s}{'ratio':>7s}{'maximum':>9s}")
    for token in tokens:
        for direction in DIRECTIONS:
            ours, theirs = errors(direction, token)
            row = {"problem": token, "direction": direction, "fastconv": ours._asdict(), "tensorflow": None}
            rows.append(row | {"tensorflow": theirs._asdict()} if theirs else row)
            line = f"{token:45s}{direction:>16s}{ours.rms:10.2e}"
            if theirs is not None:
                line += f"{theirs.rms:12.2e}{ours.rms / (theirs.rms or math.inf):7.2f}"
                line += f"{ours.maximum / (theirs.maximum or math.inf):9.2f}"
            print(line, flush=True)
    for direction in DIRECTIONS:
        both = [row for row in rows if row["direction"] == direction and row["tensorflow"]]
        ratios = {
            kind: [row["fastconv"][kind] / (row["tensorflow"][kind] or math.inf) for row in both]
            for kind in ("rms", "maximum")
        }
        mean = math.exp(np.mean([math.log(ratio) for ratio in ratios["rms"] if ratio]))
        print(
            f"{direction}: {len(both)} layers, RMS {mean:.2f} of TensorFlow's by geometric mean,"
            f" at most {max(ratios['rms']):.2f}; maximum at most {max(ratios['maximum']):.2f}"
        )
    if arguments.json:
        import tensorflow as tf

        result = {
            "command": "python benchmarks/accuracy.py " + " ".join(sys.argv[1:]),
            "cpu": cpu_name(),
            "versions": {"fastconv": fastconv.__version__, "tensorflow": tf.__version__},
            "layers": rows,
        }
        Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
