"""What the documentation shows runs as shown, and every public name is documented."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import fastconv
from fastconv import _config, _parts, _problem, _settings, _shape, _threads, filters
from fastconv._cpu import decompose, winograd
from fastconv._cuda import planner
from fastconv.nn import (
    _activation,
    _conv,
    _depthwise,
    _gradient,
    _normalization,
    _pool,
    _pool_nd,
    _softmax,
    _transpose,
    _variants,
)

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "module",
    [
        _activation,
        _conv,
        _depthwise,
        _gradient,
        _normalization,
        _pool,
        _pool_nd,
        _softmax,
        _transpose,
        _variants,
        filters,
        _parts,
        decompose,
        winograd,
        _config,
        _settings,
        _problem,
        _shape,
        _threads,
        planner,
    ],
)
def test_docstring_examples(module):
    result = doctest.testmod(importlib.import_module(module.__name__))  # the tests of CUDA code import it anew
    assert result.attempted
    assert not result.failed


def test_readme_examples():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks
    names: dict = {}  # shared: later blocks go on with what earlier ones made
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)


PUBLIC = [
    (f"{module.__name__}.{name}", getattr(module, name))
    for module in (fastconv, fastconv.nn)
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
]


@pytest.mark.parametrize("name, function", PUBLIC)
def test_public_functions_have_numpydoc(name, function):
    text = inspect.getdoc(function)
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^(\w+, )*{parameter}(, \w+)*( :|$)", text, re.M), f"{name}: {parameter}"
    for section in ("Parameters", "Raises", "Examples"):
        if section == "Parameters" and not inspect.signature(function).parameters:
            continue
        if section == "Raises" and name.endswith("get_num_threads"):
            continue
        assert f"{section}\n---" in text, f"{name}: {section}"


def test_files_stay_readable():
    """One sentence at the top, and no file over about 500 lines."""
    files = [
        path
        for folder in ("fastconv", "src", "tests", "benchmarks")
        for pattern in ("*.py", "*.pyx", "*.c", "*.h", "*.inc", "*.cu", "*.cuh")
        for path in (ROOT / folder).rglob(pattern)
    ]
    assert len(files) > 40
    for path in files:
        text = path.read_text()
        assert text.count("\n") <= 500, path
        assert re.match(r'(# cython.*\n)?("""|/\*|// )', text), path


def test_files_that_comments_and_pages_name_exist():
    """Those of the C side by their path in src/, and those of _cpu and _cuda; NAME stands for any."""
    folders = ("fastconv", "src", "tests", "benchmarks", "examples")
    pages = [path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"]
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*") if "results" not in path.parts]
    named = re.compile(r"\b(src/[\w/]*\w\.(?:c|h|inc|md)|_cp[u]/\w+\.\w+|_cud[a]/\w+\.\w+)\b")
    for path in (*pages, *sources):
        if path.suffix in (".py", ".pyx", ".pxd", ".c", ".h", ".inc", ".cu", ".cuh", ".md"):
            for name in named.findall(path.read_text()):
                found = ROOT / (name if name.startswith("src/") else f"fastconv/{name}")
                assert "NAME" in name or found.exists(), f"{path.relative_to(ROOT)} names {name}"
