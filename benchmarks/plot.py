"""Draws the plots of README.md from files in results/: layers beside their best peers and beside the machine's limits.

python benchmarks/plot.py benchmarks/results/*-forward-*.json --out benchmarks/plots/forward
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
sys.path[0] = str(Path(__file__).parent)

import numpy as np  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

from fastconv._cpu import implementations  # noqa: E402
from fastconv._options import Options  # noqa: E402
from fastconv._problem import ConvProblem  # noqa: E402

COLORS = dict(
    zip(
        ("winograd", "implicit_gemm", "pointwise", "depthwise", "narrow_groups", "border_split", "per_group"),
        ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink"),
    )
)
OTHERS = "tab:gray"


def implementation(problem: ConvProblem) -> str:
    """The name of what computes the forward pass at default settings."""
    return implementations.choose("forward", problem, np.dtype(np.float32), Options())[0].name


def bytes_moved(problem: ConvProblem) -> int:
    """Of a float32 layer that reads its input and filters once and writes its output once."""
    p = problem
    filters = p.kh * p.kw * (p.c // p.groups) * p.f
    return 4 * (p.n * p.h * p.w * p.c + filters + p.n * p.oh * p.ow * p.f)


def read(files: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The results of these files, and all of their layers, each with its problem and limits."""
    results = [json.loads(Path(name).read_text()) for name in files]
    layers = []
    for result in results:
        for layer in result["layers"]:
            problem = ConvProblem.parse(layer["problem"])
            rivals = {name: time for name, time in layer["seconds"].items() if name != "fastconv"}
            layers.append(
                {
                    "token": layer["problem"],
                    "name": implementation(problem),
                    "rate": layer["flops"] / layer["seconds"]["fastconv"],
                    "ratio": min(rivals.values()) / layer["seconds"]["fastconv"],
                    "peer": min(rivals, key=rivals.__getitem__),
                    "intensity": layer["flops"] / bytes_moved(problem),
                }
            )
    return results, layers


def draw_ratios(layers: list[dict[str, Any]], title: str, path: Path) -> None:
    """A bar a layer: how many times as fast as the best peer."""
    ordered = sorted(layers, key=lambda layer: layer["ratio"])
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.16 * len(ordered)))
    axes.barh(
        [f"{layer['token']}  {layer['peer']}" for layer in ordered],
        [layer["ratio"] for layer in ordered],
        color=[COLORS.get(layer["name"], OTHERS) for layer in ordered],
    )
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    ticks = [tick for tick in (0.25, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if tick < 1.2 * ordered[-1]["ratio"]]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("times the speed of the fastest peer, which stands beside the layer")
    axes.tick_params("y", labelsize=5.5)
    axes.margins(y=0.005)
    axes.set_title(title, fontsize=8)
    add_legend(axes, layers)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


def draw_roofline(layers: list[dict[str, Any]], machine: dict[str, Any], title: str, path: Path) -> None:
    """A point a layer, under what the machine's multiply-adds and its memory allow."""
    figure, axes = plt.subplots(figsize=(8, 5))
    reach = np.geomspace(0.5, 2 * max(layer["intensity"] for layer in layers), 200)
    roof = np.minimum(machine["peak_flops"], reach * machine["copy_bandwidth"])
    axes.plot(reach, roof * 1e-9, color="black", linewidth=1)
    for layer in layers:
        color = COLORS.get(layer["name"], OTHERS)
        axes.plot(layer["intensity"], layer["rate"] * 1e-9, "o", color=color, markersize=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte of input, filters and output")
    axes.set_ylabel("GFLOP/s of a direct convolution")
    axes.set_title(title, fontsize=8)
    add_legend(axes, layers)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


def add_legend(axes: Any, layers: list[dict[str, Any]]) -> None:
    present = {layer["name"] for layer in layers}
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=COLORS[n], label=n) for n in COLORS if n in present]
    if present - set(COLORS):
        handles.append(plt.Line2D([], [], marker="o", linestyle="", color=OTHERS, label="others"))
    axes.legend(handles=handles, fontsize=7, loc="lower right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", metavar="FILE", help="written by run.py --json on one machine")
    parser.add_argument(
        "--out", required=True, metavar="NAME", help="NAME-ratios.png and NAME-roofline.png are written"
    )
    arguments = parser.parse_args()
    results, layers = read(arguments.results)
    machine = results[0]["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results[0]["versions"].items())
    where = f"{machine['cpu']}, {machine['cpu_family']}, {machine['threads']} threads"
    title = f"{results[0]['direction']}: {where}\n{versions}"
    Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
    draw_ratios(layers, title, Path(f"{arguments.out}-ratios.png"))
    draw_roofline(layers, machine, title, Path(f"{arguments.out}-roofline.png"))


if __name__ == "__main__":
    main()
