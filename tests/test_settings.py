"""Options, threads, the environment, fork, and what the package says of itself."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy._core.multiarray import get_handler_name
from problems import SUPPORTED, inputs, run_python

import fastconv
from fastconv import _plan, nn, options
from fastconv._cpu import _core
from fastconv._cpu.backend import BACKEND
from fastconv._cpu.implementations import IMPLEMENTATIONS
from fastconv._problem import ConvProblem

CASE = inputs(ConvProblem.parse("n2h40w40c32_k3x3f32_s1x1_d1x1_p1,1,1,1_g1"))


def test_options_nest_and_are_restored():
    outside = fastconv.get_num_threads()
    with options(num_threads=3):
        assert fastconv.get_num_threads() == 3
        with options(precision="strict", num_threads=5) as inner:
            assert inner.precision == "strict"
            assert fastconv.get_num_threads() == 5
        assert fastconv.get_num_threads() == 3
        with pytest.raises(KeyError), options(num_threads=7):
            raise KeyError
        assert fastconv.get_num_threads() == 3
    assert fastconv.get_num_threads() == outside


def test_options_belong_to_one_thread():
    seen = []
    with options(num_threads=37):
        thread = threading.Thread(target=lambda: seen.append(fastconv.get_num_threads()))
        thread.start()
        thread.join()
    assert seen != [37]


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"precision": "exact"}, ValueError),
        ({"implementation": "magic"}, ValueError),
        ({"num_threads": 0}, ValueError),
        ({"num_threads": 10**6}, ValueError),
        ({"num_threads": 2.0}, TypeError),
        ({"num_threads": True}, TypeError),
    ],
)
def test_options_are_checked(arguments, error):
    with pytest.raises(error, match=next(iter(arguments))), options(**arguments):
        pass


@pytest.mark.parametrize("precision", ["default", "fast", "strict"])
def test_every_precision_computes(precision):
    with options(implementation="reference"):
        expected = nn.conv2d(*CASE)
    with options(precision=precision):
        np.testing.assert_allclose(nn.conv2d(*CASE), expected, atol=2e-4)


def test_an_implementation_that_cannot_serve_says_why():
    with (
        pytest.raises(ValueError, match="'pointwise' refuses n2h40.*larger than 1x1"),
        options(implementation="pointwise"),
    ):
        nn.conv2d(*CASE)


@pytest.mark.parametrize("name", SUPPORTED)
def test_an_instruction_set_can_be_forced(name):
    done = run_python("from fastconv._cpu import _core; print(_core.instruction_set())", FASTCONV_ISA=name)
    assert done.stdout.strip() == name, done.stderr


@pytest.mark.parametrize(
    "variable, value, message",
    [
        ("FASTCONV_ISA", "mmx", "'mmx' is not an instruction set of this CPU"),
        ("FASTCONV_VERBOSE", "loud", "'loud' is not 0, 1 or 2"),
        ("FASTCONV_IMPLEMENTATION", "magic", "'magic' is not one of"),
    ],
)
def test_a_wrong_environment_is_an_error_at_import(variable, value, message):
    done = run_python("import fastconv", **{variable: value})
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    assert message in done.stderr


def test_a_cpu_below_x86_64_v2_is_told_so_at_import():
    features = "from numpy._core._multiarray_umath import __cpu_features__ as features\nfeatures['SSE'] = True\n"
    done = run_python(features + "features['SSE42'] = False\nimport fastconv")
    assert done.returncode == 1  # not a signal
    assert "ImportError: fastconv needs an x86-64-v2 CPU" in done.stderr
    assert "lacks SSE42" in done.stderr
    on_arm = run_python(features.replace("True", "False") + "features['SSE42'] = False\nimport fastconv")
    assert on_arm.returncode == 0, on_arm.stderr


def test_verbose_prints_a_line_for_each_call():
    code = "import numpy as np, fastconv; fastconv.nn.conv2d(np.ones((1,8,8,4),'f'), np.ones((3,3,4,4),'f'), 1, 'SAME')"
    one = run_python(code, FASTCONV_VERBOSE="1").stderr
    assert "n1h8w8c4_k3x3f4_s1x1_d1x1_p1,1,1,1_g1 forward float32 NHWC spatial" in one
    assert "1 threads" in one
    assert one.count("\n") == 1
    why = "not spatial: the input has many channels, or groups of them"
    assert why in run_python(code.replace("4", "5"), FASTCONV_VERBOSE="2").stderr


def test_an_implementation_can_be_forced_by_the_environment():
    done = run_python(
        "import numpy as np, fastconv; fastconv.nn.conv2d(np.ones((1,8,8,4),'f'), np.ones((3,3,4,4),'f'), 1, 'SAME')",
        FASTCONV_IMPLEMENTATION="reference",
        FASTCONV_VERBOSE="1",
    )
    assert " reference " in done.stderr


def test_plans_are_cached_by_what_a_call_means():
    x, w = np.ones((1, 9, 9, 2), np.float32), np.ones((3, 3, 2, 2), np.float32)
    BACKEND.planner.plans.clear()
    first = BACKEND.plan("forward", (x, w), [1, 2, 2, 1], "SAME", "NHWC", None)
    assert BACKEND.plan("forward", (x, w), (1, 2, 2, 1), "SAME", "NHWC", None) is first
    assert BACKEND.plan("forward", (x, w), np.array([1, 2, 2, 1]), "SAME", "NHWC", None) is first
    assert BACKEND.plan("forward", (x, w), [1, 1, 2, 1], "SAME", "NHWC", None) is not first
    with options(implementation="implicit_gemm"):
        assert BACKEND.plan("forward", (x, w), [1, 2, 2, 1], "SAME", "NHWC", None) is not first
    for size in range(_plan.MOST_PLANS + 10):
        BACKEND.plan("forward", ((size, 3, 3, 2), w), 1, "SAME", "NHWC", None)
    assert len(BACKEND.planner.plans) <= _plan.MOST_PLANS


def test_plans_tell_shapes_dtypes_and_layouts_apart():
    x, w = np.ones((1, 6, 6, 6), np.float32), np.ones((3, 3, 6, 6), np.float32)
    calls = [("forward", (x, w), 1, "SAME", data_format, None) for data_format in ("NHWC", "NCHW")]
    calls += [("forward", (x[None], w), 1, "SAME", "NHWC", None), ("forward", (x, w[:1]), 1, "SAME", "NHWC", None)]
    calls += [("forward", (x.astype(dtype), w.astype(dtype)), 1, "SAME", "NHWC", None) for dtype in ("f8", "i4", "f2")]
    calls += [("backprop_input", (x.shape, w, x), 1, "SAME", "NHWC", None)]
    calls += [("backprop_filter", (x, w.shape, x), 1, "SAME", "NHWC", None)]
    plans = [BACKEND.plan(*call) for call in calls]
    assert len({id(plan) for plan in plans}) == len(calls)
    assert [BACKEND.plan(*call) for call in calls] == plans
    assert [plan.result_shape for plan in plans[2:4]] == [(1, 1, 6, 6, 6), (1, 6, 6, 6)]


def test_large_results_begin_at_a_cache_line_and_own_their_memory():
    x, w = np.ones((1, 40, 40, 8), np.float32), np.ones((1, 1, 8, 8), np.float32)
    results = [nn.conv2d(x, w, 1, "VALID") for _ in range(20)]
    for y in results:
        assert y.ctypes.data % 64 == 0 and y.flags.owndata and y.base is None
    y = results.pop()
    y.resize((3, 40, 40, 8), refcheck=False)
    assert (y[0] == 8).all() and (y[1:] == 0).all()
    y.resize((1, 4, 4, 8), refcheck=False)
    assert (y == 8).all()
    other = np.ones(1 << 16)
    assert get_handler_name(other) == "default_allocator" and get_handler_name(results[0]) == "fastconv"


def test_config_tells_how_it_was_built(capsys):
    config = fastconv.show_config("dicts")
    assert config["Version"] == fastconv.__version__
    assert config["Instruction sets"]["in use"] == _core.instruction_set()
    assert set(config["Instruction sets"]["supported"]) <= set(config["Instruction sets"]["built"])
    assert "-ffp-contract=off" in config["Build"]["flags"]
    assert config["Threads"] == fastconv.get_num_threads()
    assert fastconv.show_config() is None
    assert json.loads(capsys.readouterr().out) == config
    with pytest.raises(ValueError, match="mode"):
        fastconv.show_config("yaml")


def test_nothing_but_numpy_is_imported():
    done = run_python(
        "import sys; before = set(sys.modules)\n"
        "import fastconv\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    others = {name for name in done.stdout.split() if "cython" not in name}  # Cython's own records of its types
    assert others == {"fastconv", "numpy"}, done.stderr


def test_an_unbuilt_tree_says_what_to_run(tmp_path):
    """It is not imported half, and does not put an installed package in its own place."""
    source = Path(fastconv.__file__).parent
    tree = tmp_path / "checkout" / "fastconv"
    for file in source.rglob("*.py"):
        copy = tree / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    found = subprocess.run(
        [sys.executable, "-c", "import fastconv"], cwd=tree.parent, capture_output=True, text=True, env=environment
    )
    assert f"ImportError: {tree} is fastconv's source code, not built. Run 'pip install .'" in found.stderr
    safe = subprocess.run(
        [sys.executable, "-P", "-c", "import fastconv; print(fastconv._cpu._core.__file__)"],
        cwd=tree.parent, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert safe.stdout.strip() == _core.__file__, safe.stderr


@pytest.mark.parametrize("name", ["magic", ["winograd"], {}, 3])
def test_an_implementation_is_a_name_of_one(name):
    with pytest.raises(ValueError, match=r"implementation: .* is not one of 'spatial'"):
        options(implementation=name)


def test_methods_in_c_have_the_names_of_implementations():
    names = {direction: {each.name for each in IMPLEMENTATIONS[direction]} for direction in IMPLEMENTATIONS}
    assert set(_core.METHODS) <= names["forward"]
    assert set(_core.FILTER_METHODS) <= names["backprop_filter"]
    assert {"implicit_gemm", "winograd"} <= set(_core.METHODS)
    assert {"outer_products", "winograd"} <= set(_core.FILTER_METHODS)
