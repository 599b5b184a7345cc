"""The page of a GPU report: what holds, what is wrong, what is slow, and what was not reached, from the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from stages import TIME_WAS_UP, ended, read

# Of cuDNN's speed, by arithmetic; of the device's copies; seconds a call.
FLOAT32, HALVES, DEPTHWISE, CALL = 1.5, 0.9, 0.85, 15e-6
_NAMED = 5  # items that a line about those not reached names


class Stage:
    """A stage with what its record says."""

    def __init__(self, name: str, record: Path, outcome: str | None) -> None:
        self.name = name
        self.outcome = outcome  # "" if it came to its end, None while it runs
        self.items = ended(record)
        planned = next((line["planned"] for line in read(record) if "planned" in line), [])
        names = {item["item"] for item in self.items}
        self.missing = [name for name in planned if name not in names]

    @property
    def broke(self) -> bool:
        """Whether something other than its time, or a missing tool, kept it from its end."""
        return bool(self.outcome) and not self.outcome.startswith(TIME_WAS_UP) and "not installed" not in self.outcome

    @property
    def is_wrong(self) -> bool:
        """Whether anything in it is."""
        return self.broke or bool(self.with_status("failed", "crashed"))

    def with_status(self, *statuses: str) -> list[dict[str, Any]]:
        return [item for item in self.items if item["status"] in statuses]

    def counts(self) -> str:
        """How many items ended how."""
        found = Counter(item["status"] for item in self.items)
        words = [f"{found[status]} {status}" for status in ("ok", "failed", "crashed", "skipped") if found[status]]
        words += [f"{len(self.missing)} not reached"] if self.missing else []
        return ", ".join(words) or "nothing"


def timed(stages: dict[str, Stage]) -> list[dict[str, Any]]:
    """The layers that fastconv was timed on."""
    return [item for item in stages["layers"].with_status("ok") if "times" in item] if "layers" in stages else []


def ratio(layer: dict[str, Any]) -> float | None:
    """cuDNN's time by fastconv's."""
    times = layer["times"]
    return times["torch"] / times["fastconv"] if "torch" in times else None


def copy_share(layer: dict[str, Any], bandwidth: float) -> float:
    """The layer's bytes a second beside those of a copy."""
    return layer["bytes"] / layer["times"]["fastconv"] / bandwidth


def is_depthwise(layer: dict[str, Any]) -> bool:
    return not layer["problem"].endswith("_g1")


def limits(stages: dict[str, Stage]) -> dict[str, Any]:
    found = [item["limits"] for item in stages["layers"].with_status("ok") if "limits" in item]
    return found[0] if found else {}


def of_goal(layer: dict[str, Any]) -> bool:
    """Whether the goal of copies' rate is meant for it."""
    return is_depthwise(layer) and layer["direction"] == "forward" and layer["problem"].startswith("n32")


def goals(stages: dict[str, Stage]) -> list[tuple[str, str, bool | None]]:
    """Each goal, what was measured, and whether it holds; None if nothing was measured."""
    layers = [layer for layer in timed(stages) if layer["implementation"] is None]
    found: list[tuple[str, str, bool | None]] = []
    for text, kinds, goal in (
        ("float32, as accurate as float32, beside cuDNN's strict float32", ("float32",), FLOAT32),
        ("TF32 beside cuDNN's", ("tf32",), HALVES),
        ("halves beside cuDNN's", ("float16", "bfloat16"), HALVES),
    ):
        ratios = [
            value
            for layer in layers
            if layer["arithmetic"] in kinds and not is_depthwise(layer) and (value := ratio(layer)) is not None
        ]
        text = f"{text}: at least {goal:g} times as fast"
        if ratios:
            mean = geometric_mean(ratios)
            found.append((text, f"{mean:.2f} over {len(ratios)} layers, worst {min(ratios):.2f}", mean >= goal))
        else:
            found.append((text, "not measured", None))
    text = f"depthwise layers, batch 32: at least {DEPTHWISE:.0%} of the rate of copies"
    bandwidth = limits(stages).get("copy_bandwidth") if "layers" in stages else None
    shares = [copy_share(layer, bandwidth) for layer in layers if bandwidth and of_goal(layer)]
    measured = f"{geometric_mean(shares):.0%}, worst {min(shares):.0%}" if shares else "not measured"
    found.append((text, measured, geometric_mean(shares) >= DEPTHWISE if shares else None))
    calls = {item["item"]: item["host_seconds"] for item in stages["overhead"].with_status("ok")} if (
        "overhead" in stages
    ) else {}  # fmt: skip
    text = f"a call costs the host at most {1e6 * CALL:.0f} us"
    measured = ", ".join(f"{name} {1e6 * seconds:.1f}" for name, seconds in calls.items()) or "not measured"
    found.append((text, measured, max(calls.values()) <= CALL if calls else None))
    return found


def slow(stages: dict[str, Stage]) -> list[tuple[float, str]]:
    """The layers behind their goals, with the share of the goal that they reach; the slowest first."""
    bandwidth = limits(stages).get("copy_bandwidth") if "layers" in stages else None
    found = []
    for layer in timed(stages):
        goal = {"float32": FLOAT32, "strict": 1.0}.get(layer["arithmetic"], HALVES)
        value, unit = ratio(layer), "of cuDNN"
        if is_depthwise(layer):
            if not (bandwidth and of_goal(layer)):
                continue
            value, goal, unit = copy_share(layer, bandwidth), DEPTHWISE, "of copies"
        if value is not None and value < goal:
            found.append((value / goal, f"{layer['item']}: {value:.2f} {unit}, the goal is {goal:g}"))
    return sorted(found)


def _table(headings: list[str], rows: list[list[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


def _layer_row(layer: dict[str, Any], bandwidth: float | None) -> list[str]:
    times, value = layer["times"], ratio(layer)
    mine = times["fastconv"]
    return [
        layer["direction"],
        " ".join(filter(None, (layer["arithmetic"], layer["implementation"]))),
        layer["problem"],
        f"{1e6 * mine:.1f}",
        f"{1e6 * times['torch']:.1f}" if "torch" in times else "-",
        "-" if value is None else f"{value:.2f}",
        f"{1e-12 * layer['flops'] / mine:.1f}",
        f"{100 * copy_share(layer, bandwidth):.0f}" if bandwidth else "-",
    ]


def warpgroup_pairs(stages: dict[str, Stage]) -> Iterator[list[str]]:
    """The rows of layers that were timed with both kinds of instructions."""
    named = {layer["item"]: layer["times"]["fastconv"] for layer in timed(stages)}
    for layer in timed(stages):
        single = named.get(layer["item"].replace(" warpgroup ", " "))
        if layer["implementation"] == "warpgroup" and single is not None:
            grouped = layer["times"]["fastconv"]
            cells = f"{1e6 * single:.1f}", f"{1e6 * grouped:.1f}", f"{single / grouped:.2f}"
            yield [layer["direction"], layer["arithmetic"], layer["problem"], *cells]


def _wrong(stages: list[Stage], facts: dict[str, str]) -> list[str]:
    if not any(stage.is_wrong for stage in stages):
        return ["Nothing that was run."]
    device = f"--capability {facts.get('compute capability')} --multiprocessors {facts.get('multiprocessors')}"
    lines = [f"`python tests/cuda/reproduce.py LAYER {device}` runs a layer's kernels on the host.", ""]
    for stage in stages:
        lines += [f"- **{stage.name}**: {stage.outcome}"] if stage.broke else []
        for item in stage.with_status("failed", "crashed"):
            lines.append(f"- **{stage.name}: {item['item']}** ({item['status']}): {item['reason']}")
            lines += [f"  - `{kernel}`" for kernel in item.get("kernels", [])]
    return lines


def _missed(stages: dict[str, Stage]) -> list[str]:
    lines = []
    for stage in stages.values():
        if stage.outcome and not stage.broke:
            lines.append(f"- {stage.name}: {stage.outcome}")
        if stage.missing:
            more = len(stage.missing) - _NAMED
            named = ", ".join(stage.missing[:_NAMED]) + (f" and {more} more" if more > 0 else "")
            lines.append(f"- {stage.name}: {len(stage.missing)} not reached: {named}")
        lines += [f"- {stage.name}: {item['item']}: {item['reason']}" for item in stage.with_status("skipped")]
    reasons = {reason for layer in timed(stages) for reason in layer["failures"].values()}
    return lines + [f"- cuDNN: {reason}" for reason in sorted(reasons)]


def page(command: str, date: str, stages: dict[str, Stage]) -> str:
    """The report in Markdown."""
    machine = stages["machine"].items[0] if stages["machine"].items else {}
    facts = {name: str(value) for name, value in machine.items() if name not in ("item", "status", "seconds")}
    run = [stage for stage in stages.values() if stage.name != "machine"]
    judged = goals(stages)
    lines = [f"# fastconv on {facts.get('GPU', 'a GPU')}", "", f"{date}, `{command}`", ""]
    lines += _table(["what is there", ""], [[name, value] for name, value in facts.items()])
    lines += ["## What holds", ""]
    lines += [f"- {stage.name}: {stage.counts()}" for stage in run if stage.with_status("ok")]
    lines += [f"- {text}: {measured}" for text, measured, holds in judged if holds]
    for item in stages["cifar"].with_status("ok") if "cifar" in stages else []:
        lines.append(f"- the CIFAR-10 network trains on {item['images_per_second']:.0f} images a second")
    lines += ["", "## What is wrong", "", *_wrong(run, facts)]
    behind = [f"- {text}: {measured}" for text, measured, holds in judged if holds is False]
    behind += [f"- {text}" for _, text in slow(stages)]
    lines += ["", "## What is slow", "", *(behind or ["Nothing that was measured beside its goal."])]
    missed = [f"- {text}: {measured}" for text, measured, holds in judged if holds is None] + _missed(stages)
    lines += ["", "## What was not reached", "", *(missed or ["Everything was."])]
    pairs = list(warpgroup_pairs(stages))
    if pairs:
        lines += ["", "## Warpgroups beside single warps", "", "Medians, in microseconds on the device.", ""]
        lines += _table(["", "arithmetic", "layer", "mma", "wgmma", "ratio"], pairs)
    rows = [_layer_row(layer, limits(stages).get("copy_bandwidth")) for layer in timed(stages)]
    if rows:
        lines += ["", "## Layers", "", "Medians, in microseconds on the device; cuDNN through PyTorch.", ""]
        lines += _table(["", "arithmetic", "layer", "fastconv", "cuDNN", "ratio", "TFLOP/s", "% of copies"], rows)
    return "\n".join(lines).rstrip() + "\n"
