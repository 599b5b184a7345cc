"""Every kernel that the planner may choose compiles for every architecture, within its registers and memory."""

import concurrent.futures
import os
import re

import pytest
from standin import most_shared

from fastconv._cuda import planner

ARCHITECTURES = [f"sm_{capability}" for capability in planner.ARCHITECTURES] + ["sm_90a"]
if not os.environ.get("FASTCONV_TESTS"):  # else each takes a minute of a core
    ARCHITECTURES = ["sm_80", "sm_90a"]  # the latter's own kernels alone
REGISTERS = 1 << 16  # of a multiprocessor


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles_without_spills(architecture, compiling):
    capability, jobs = int(architecture.removeprefix("sm_").removesuffix("a")), compiling[architecture]
    assert len(jobs) > (90 if os.environ.get("FASTCONV_TESTS") or architecture != "sm_90a" else 5)
    for job in concurrent.futures.as_completed(jobs):
        kernel, report = jobs[job], job.result()
        assert report.spills == 0, (kernel, report.log)
        assert report.stack == 0, (kernel, report.log)
        # The latter where products of warpgroups do not run side by side.
        assert not re.search("warning|Potential Performance Loss", report.log), (kernel, report.log)
        blocks = int(dict(kernel.defines).get("BLOCKS", 1))
        assert report.registers * kernel.threads * blocks <= REGISTERS, (kernel, report.log)
        assert kernel.shared <= most_shared(capability), kernel


@pytest.mark.parametrize("capability", planner.ARCHITECTURES)
@pytest.mark.parametrize("multiprocessors", [1, 68, 132])
def test_no_other_kernel_is_ever_chosen(capability, multiprocessors):
    known = set(planner.all_kernels(capability))
    for element in planner.ELEMENTS:
        for precision in ("default", "fast", "strict"):
            kind = planner.arithmetic(element, precision, capability)
            for direction in planner.DIRECTIONS:
                for both in ((True, True), (True, False), (False, True), (False, False)):
                    wide = planner.width(direction, *both)
                    for rows, columns in ((49, 2048), (100352, 64), (1000, 30)):
                        works = [planner.Work(rows, columns, 576, 1)]
                        tile = planner.best_tile(planner.tiles(element, kind, all(wide)), works, multiprocessors)
                        assert planner.implicit_gemm(direction, element, kind, tile, wide, capability) in known
