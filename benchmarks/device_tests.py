"""A pytest plugin that runs the tests of a device as items of a report, the quickest of each kind first."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from stages import BROKEN, Runner, append, describe


@contextlib.contextmanager
def kernels_told_to(tell: Callable[[str], None]) -> Iterator[None]:
    """Has the name of each kernel told, before it is compiled, for which a launch is prepared meanwhile."""
    from fastconv._cuda import launch

    compiled = launch.compile_kernel

    def telling(kernel: Any, number: int) -> Any:
        tell(str(kernel))
        return compiled(kernel, number)

    telling.cache_clear = compiled.cache_clear
    launch.compile_kernel = telling
    try:
        yield
    finally:
        launch.compile_kernel = compiled


def _kind(item: pytest.Item) -> tuple[str, str]:
    """Tests of one function and dtype are of one kind."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return item.originalname, str(parameters.get("dtype"))


def _work(item: pytest.Item) -> float:
    """The multiply-adds of the test's problem; tests that draw many problems, and compile for each, come last."""
    if getattr(item.obj, "is_hypothesis_test", False):
        return math.inf
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters["problem"].multiply_adds if "problem" in parameters else 0


class DeviceTests:
    """Orders the tests, passes over those that the record knows, and records each with its kernels."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.outcome: tuple[str, dict[str, Any]] = ("ok", {})
        self.kernels: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        met: Counter[tuple[str, str]] = Counter()
        ranked = []
        for item in sorted(items, key=_work):
            met[_kind(item)] += 1
            ranked.append((met[_kind(item)], item))
        ranked.sort(key=lambda pair: (_work(pair[1]) == math.inf, pair[0]))
        self.runner.announce([item.nodeid for _, item in ranked])
        items[:] = [item for _, item in ranked if item.nodeid not in self.runner.known]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.outcome, self.kernels = ("ok", {}), []
        self.runner.begin(nodeid)

    def tell(self, kernel: str) -> None:
        if kernel not in self.kernels:
            self.kernels.append(kernel)
            append(self.runner.record, kernel=kernel)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        with kernels_told_to(self.tell):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Iterator[Any]:
        report = yield
        if call.excinfo is not None and self.outcome[0] != "failed":
            status = "skipped" if report.skipped else "failed"
            self.outcome = status, {"reason": describe(call.excinfo.value)}
        return report

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        status, figures = self.outcome
        try:
            self.runner.end(nodeid, status, kernels=self.kernels, **figures)
        except SystemExit:
            pytest.exit("the device takes no more work", BROKEN)


def run(tests: list[str], runner: Runner, expression: str | None) -> int:
    """Runs the tests of files, or those with these names; 0 once all have ended, whatever the outcome."""
    arguments = ["-q", "-p", "no:cacheprovider", *tests, *(["-k", expression] if expression else [])]
    status = int(pytest.main(arguments, plugins=[DeviceTests(runner)]))
    all_ended = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED
    return 0 if status in all_ended else status
