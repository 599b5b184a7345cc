"""Nothing imports what stands above it: the order of the layers, from the ground up, and the check that it holds."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "fastconv"  # the sources: an installed package lacks those of compiled modules

# A module imports only modules of lines above its own, inside functions too. What stands in one line knows nothing of
# its neighbors. One exception, by name: _backend loads the backends when a call is first given an array of theirs.
LAYERS = """
_baseline _version _types _problem _backend _cpu _cpu._core _cpu.cost_model _cuda _images
_arguments _parts _reference _cpu._tensors
_options _shape _prepared _epilogue _cpu.summation _cpu.decompose _cpu._launch _cpu._layers
_plan _threads _cpu.winograd _cpu._convolution
_cpu.refusals _cpu.elementwise _cpu.pools _cuda.planner _config
_cpu.implementations _cuda.launch _cuda.memory
_cpu.plans _cuda.pointwise _cuda.pools _settings
_cuda.convolutions _cpu.backend
_cuda.plans
_cuda.backend
nn._elementwise nn._windows nn._conv
nn._gradient nn._activation nn._activation_grad nn._normalization nn._pool nn._softmax nn._variants
nn._depthwise nn._pool_nd nn._transpose
nn
_bands
filters
fastconv
_demo
_cli
__main__
"""
# The same of a name.c and its name.h in the folders of src/, and of what they include. Layers are of files: a folder
# holds what has one subject, and may reach from low to high.
C_LAYERS = """
base/arith base/float_mode base/dtype base/half isa/tuning threads/wait threads/work_stealing threads/scratch
kernels/gemm kernels/copy kernels/depthwise kernels/epilogue kernels/spatial kernels/winograd
base/problem threads/team kernels/layers
base/axis base/blocks kernels/kernels winograd/grid
isa/dispatch isa/compile layout/copy layers/epilogue layers/pool layers/elementwise
layout/staging isa/generic isa/generic_fma isa/avx2 isa/avx512 isa/neon
layout/indirection conv/method conv/filter_method
layout/filter_panels conv/part conv/epilogue conv/regions conv/pixel_blocks winograd/filters winograd/outliers
conv/implicit_gemm conv/spatial conv/kn2row conv/depthwise conv/outer_products conv/spatial_gradient winograd/tiles
conv/pointwise conv/narrow_groups conv/depthwise_gradient winograd/exact winograd/gradient_outliers
winograd/forward winograd/backprop_filter
conv/forward
conv/backprop_filter
"""


def heights(layers: str) -> dict[str, int]:
    return {name: height for height, line in enumerate(layers.split("\n")) for name in line.split()}


HEIGHT = {name if name == "fastconv" else f"fastconv.{name}": height for name, height in heights(LAYERS).items()}
C_HEIGHT = heights(C_LAYERS)
SRC = ROOT.parent / "src"
SOURCES = sorted(SRC.glob("*/*.[ch]"))
BODIES = sorted([*SRC.glob("*/*.inc"), *SRC.glob("isa/simd/*.h")])


def module_of(path: Path) -> str:
    parts = ["fastconv", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in ROOT.rglob("*.py")}
CYTHON = {}  # of each compiled module, and of what is only cimported: its sources
for path in sorted(ROOT.rglob("*.py[x]")) + sorted(ROOT.rglob("*.pxd")):
    CYTHON.setdefault(module_of(path), []).append(path)


def imported(source: str) -> set[str]:
    """The modules of fastconv that a module's source imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.split(".")[0] == "fastconv")
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"a relative import, which hides what is imported: line {node.lineno}")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fastconv":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in HEIGHT else node.module)
    return found


def cimported(source: str) -> set[str]:
    """The modules of fastconv that a Cython source imports or cimports, at its beginning."""
    return set(re.findall(r"^from (fastconv[\w.]*) c?import", source, re.M))


def upward(module: str, source: str) -> set[str]:
    """Imports of modules that do not stand below this one."""
    return {name for name in imported(source) if HEIGHT[name] >= HEIGHT[module]}


def test_every_module_has_its_layer():
    assert set(MODULES) | set(CYTHON) == set(HEIGHT)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_module_imports_one_above_it(module):
    assert not upward(module, MODULES[module].read_text())


@pytest.mark.parametrize("module", sorted(CYTHON))
def test_no_cython_module_cimports_one_above_it(module):
    for path in CYTHON[module]:
        for name in cimported(path.read_text()) - {module}:
            assert HEIGHT[name] < HEIGHT[module], f"{path.name} imports {name}"


def test_an_upward_import_is_found_wherever_it_stands():
    planted = "def f():\n    from fastconv._cpu import backend\n    from fastconv import nn\n"
    assert upward("fastconv._arguments", planted) == {"fastconv._cpu.backend", "fastconv.nn"}
    assert upward("fastconv._parts", "from fastconv._arguments import describe") == {"fastconv._arguments"}
    assert not upward("fastconv._arguments", "from fastconv._problem import Pair")


def test_functions_know_no_backend():
    for module in MODULES:
        if module.startswith("fastconv.nn"):
            names = imported(MODULES[module].read_text())
            assert not any(name.startswith(("fastconv._cpu", "fastconv._cuda")) for name in names), module


def c_name(path: Path) -> str:
    return path.relative_to(SRC).with_suffix("").as_posix()


def included(source: str) -> set[str]:
    """The headers of src/ that a C file includes, without their ending; the vectors of isa/simd/ are not among them."""
    return set(re.findall(r'^#include "([a-z_]+/[a-z_0-9]+)\.h"', source, re.M))


def c_upward(name: str, source: str) -> set[str]:
    return {other for other in included(source) - {name} if C_HEIGHT[other] >= C_HEIGHT[name]}


def test_every_c_file_has_its_layer():
    assert {c_name(path) for path in SOURCES} == set(C_HEIGHT)


@pytest.mark.parametrize("path", SOURCES, ids=c_name)
def test_no_c_file_includes_what_stands_above_it(path):
    assert not c_upward(c_name(path), path.read_text())


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.name)
def test_kernels_and_vectors_know_only_what_all_methods_share(path):
    folders = {name.split("/")[0] for name in re.findall(r'^#include "(.*)"', path.read_text(), re.M)}
    assert folders <= {"base", "kernels", "isa"}


def test_an_upward_include_is_found():
    source = '#include "layout/staging.h"\n#include "winograd/forward.h"\n#include "base/arith.h"\n'
    assert c_upward("layout/staging", source) == {"winograd/forward"}
