"""Stages of a report: each runs its items in a process of its own, within limits, and records them as it goes.

The process appends a line of JSON to the stage's record as it begins an item, and one as it ends it. If the process
dies or hangs, the item that it had begun is recorded as crashed, and a new process goes on with the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BROKEN = 3  # exit status of a process whose device takes no more work
_POLL = 0.05  # seconds between looks at a process
TIME_WAS_UP = "time was up"  # the first words of what kept a stage from its end, if that alone did
_TOLD = 400  # characters of the beginning, and of the end, of a dead process's output that are told


def read(record: Path) -> list[dict[str, Any]]:
    """The lines of a record; a last line that was not written to its end is left out."""
    found = []
    with contextlib.suppress(FileNotFoundError), open(record) as file:
        for line in file:
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
    return found


def append(record: Path, **values: Any) -> None:
    """Adds a line to a record; it is in the file when this returns."""
    with open(record, "a") as file:
        file.write(json.dumps(values) + "\n")


def ended(record: Path) -> list[dict[str, Any]]:
    """What is known of each item that ended, in the order of their ends."""
    return [line for line in read(record) if "status" in line]


def in_flight(record: Path) -> tuple[str | None, dict[str, Any]]:
    """The item that was begun and has not ended, and what it has told so far."""
    begun, told = None, {}
    for line in read(record):
        if "begun" in line:
            begun, told = line["begun"], {}
        elif "status" in line:
            begun = None
        elif "kernel" in line:
            told.setdefault("kernels", []).append(line["kernel"])
    return begun, told


class NotHereError(Exception):
    """What an item raises that cannot be run here."""


class Runner:
    """Runs items in this process; those that the record knows already are passed over."""

    def __init__(self, record: Path, is_broken: Callable[[], bool] = lambda: False) -> None:
        self.record = record
        self.is_broken = is_broken  # after a failure: whether this process is of no more use
        lines = read(record)
        self.known = {line["begun"] for line in lines if "begun" in line}
        self.is_announced = any("planned" in line for line in lines)

    def announce(self, items: list[str]) -> None:
        """Records the names of all items, so that those that are not reached can be told."""
        if not self.is_announced:
            append(self.record, planned=items)
            self.is_announced = True

    def begin(self, name: str) -> None:
        """Records that an item begins."""
        append(self.record, begun=name)
        self.start = time.perf_counter()

    def end(self, name: str, status: str, **figures: Any) -> None:
        """Records how it ended: "ok", "failed" or "skipped", the last two with a reason."""
        append(self.record, item=name, status=status, seconds=time.perf_counter() - self.start, **figures)
        if status == "failed" and self.is_broken():
            sys.exit(BROKEN)

    def run(self, items: dict[str, Callable[[], dict[str, Any] | None]]) -> None:
        """Runs the items in turn."""
        self.announce(list(items))
        for name, function in items.items():
            if name in self.known:
                continue
            self.begin(name)
            try:
                status, figures = "ok", function() or {}
            except NotHereError as error:
                status, figures = "skipped", {"reason": str(error)}
            except Exception as error:  # any item, any reason: recorded, and the next one is run
                status, figures = "failed", {"reason": describe(error), **in_flight(self.record)[1]}
            self.end(name, status, **figures)


def describe(error: BaseException) -> str:
    """An exception in one line, with its notes."""
    words = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
    return " ".join(" | ".join(words).split())[:1500]


def run_stage(
    command: list[str],
    record: Path,
    seconds: float,
    item_seconds: float,
    watch: Callable[[], None] = lambda: None,
) -> str:
    """Runs a stage to its end or for so many seconds; "" or what kept it from its end.

    Parameters
    ----------
    command
        What runs the items. It is started again after a crash, and passes over the items that the record knows.
    record
        The file to which the command appends. Its output goes to the file of the same name with the suffix ".log".
    seconds, item_seconds
        The most time for the stage, and for one item of it.
    watch
        Called whenever the record has grown.
    """
    end = time.monotonic() + seconds
    log = record.with_suffix(".log")
    while True:
        begun, from_here = count_begun(record), log.stat().st_size if log.exists() else 0
        with open(log, "ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            why = _wait(process, record, end, item_seconds, watch)
        finally:
            _kill(process)
        words = " ".join(log.read_bytes()[from_here:].decode(errors="replace").split())
        if len(words) > 2 * _TOLD:
            words = f"{words[:_TOLD]} ... {words[-_TOLD:]}"
        item, told = in_flight(record)
        if why == TIME_WAS_UP:
            return f"{why} after {seconds:.0f} s" + (f", in {item}" if item else "")
        why = why or f"its process ended with {_status(process.returncode)}"
        if item is not None:
            append(record, item=item, status="crashed", seconds=None, reason=f"{why}: {words}", **told)
            watch()
        elif process.returncode == 0:
            return ""
        if count_begun(record) == begun:
            return f"{why} before it began an item: {words}"


def count_begun(record: Path) -> int:
    return sum("begun" in line for line in read(record))


def _wait(
    process: subprocess.Popen[bytes], record: Path, end: float, item_seconds: float, watch: Callable[[], None]
) -> str:
    """Waits for the process; "" once it has ended, or why it must be killed."""
    size, since = -1, time.monotonic()
    while process.poll() is None:
        now = time.monotonic()
        grown = record.stat().st_size if record.exists() else 0
        if grown != size:
            size, since = grown, now
            watch()
        if now > end:
            return TIME_WAS_UP
        if now - since > item_seconds:
            return f"it did not end within {item_seconds:.0f} s"
        time.sleep(_POLL)
    watch()
    return ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _status(returncode: int) -> str:
    if returncode < 0:
        return f"signal {signal.Signals(-returncode).name}"
    return f"exit status {returncode}"
