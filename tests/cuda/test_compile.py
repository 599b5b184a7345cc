"""Every kernel that the planner may choose compiles for every architecture, within its registers and memory."""

import os
import re

import nvrtc
import pytest
from standin import most_shared

import fastconv
from fastconv._cuda import planner

FOLDER = os.path.join(os.path.dirname(fastconv.__file__), "_cuda")
REGISTERS = 1 << 16  # of a multiprocessor


def kernels():
    """Architectures and their kernels: all in .ci/run, else those of one, and what only Hopper has."""
    everything = bool(os.environ.get("FASTCONV_TESTS"))
    for capability in planner.ARCHITECTURES if everything else [80]:
        for kernel in planner.all_kernels(capability):
            yield f"sm_{capability}", capability, kernel
    for kernel in planner.warpgroup_kernels() + (planner.all_kernels(90) if everything else []):
        yield "sm_90a", 90, kernel


KERNELS = list(kernels())
NAMES = [f"{architecture}-{kernel.source}-{index}" for index, (architecture, _, kernel) in enumerate(KERNELS)]


def test_the_planner_lists_kernels_of_every_kind():
    assert len(planner.all_kernels(80)) > 90 and len(planner.warpgroup_kernels()) > 5


@pytest.mark.alone
@pytest.mark.parametrize("architecture, capability, kernel", KERNELS, ids=NAMES)
def test_every_kernel_compiles_without_spills(architecture, capability, kernel):
    options = (*kernel.options, f"-I{FOLDER}")
    report = nvrtc.compiled(os.path.join(FOLDER, kernel.source), options, architecture)
    assert report.spills == 0, report.log
    assert report.stack == 0, report.log
    # The latter where products of warpgroups do not run side by side.
    assert not re.search("warning|Potential Performance Loss", report.log), report.log
    blocks = int(dict(kernel.defines).get("BLOCKS", 1))
    assert report.registers * kernel.threads * blocks <= REGISTERS, report.log
    assert kernel.shared <= most_shared(capability)


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
