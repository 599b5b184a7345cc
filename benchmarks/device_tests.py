"""A pytest plugin that runs the tests of a device as items of a report, the quickest of each kind first."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from stages import BROKEN, Runner, describe


@contextlib.contextmanager
def recorded_kernels() -> Iterator[dict[str, None]]:
    """The names of the kernels for which launches are prepared meanwhile."""
    from fastconv._cuda import launch

    compiled, names = launch.compiled, {}

    def recording(kernel: Any, number: int) -> Any:
        names[str(kernel)] = None
        return compiled(kernel, number)

    recording.cache_clear = compiled.cache_clear
    launch.compiled = recording
    try:
        yield names
    finally:
        launch.compiled = compiled


def _kind(item: pytest.Item) -> tuple[str, str]:
    """Tests of one function and dtype are of one kind."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return item.originalname, str(parameters.get("dtype"))


def _work(item: pytest.Item) -> int:
    """The multiply-adds of the test's problem; the tests of one function are of few sizes otherwise."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters["problem"].multiply_adds if "problem" in parameters else 0


class DeviceTests:
    """Orders the tests, passes over those that the record knows, and records each with its kernels."""

    def __init__(self, runner: Runner, first_only: bool) -> None:
        self.runner = runner
        self.first_only = first_only  # one test of each kind
        self.outcome: tuple[str, dict[str, Any]] = ("ok", {})
        self.kernels: dict[str, None] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        met: Counter[tuple[str, str]] = Counter()
        ranked = []
        for item in sorted(items, key=_work):
            met[_kind(item)] += 1
            ranked.append((met[_kind(item)], item))
        ranked.sort(key=lambda pair: pair[0])
        chosen = [item for rank, item in ranked if rank == 1 or not self.first_only]
        self.runner.announce([item.nodeid for item in chosen])
        items[:] = [item for item in chosen if item.nodeid not in self.runner.known]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.outcome, self.kernels = ("ok", {}), {}
        self.runner.begin(nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        with recorded_kernels() as self.kernels:
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Iterator[Any]:
        report = yield
        if call.excinfo is not None and self.outcome[0] != "failed":
            status = "skipped" if report.skipped else "failed"
            self.outcome = status, {"reason": describe(call.excinfo.value), "kernels": list(self.kernels)}
        return report

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        status, figures = self.outcome
        try:
            self.runner.end(nodeid, status, **figures)
        except SystemExit:
            pytest.exit("the device takes no more work", BROKEN)


def run(path: str, runner: Runner, first_only: bool, expression: str | None) -> int:
    """Runs the tests of a file; 0 once all have ended, whatever the outcome."""
    arguments = ["-q", "-p", "no:cacheprovider", path, *(["-k", expression] if expression else [])]
    status = int(pytest.main(arguments, plugins=[DeviceTests(runner, first_only)]))
    all_ended = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED
    return 0 if status in all_ended else status
