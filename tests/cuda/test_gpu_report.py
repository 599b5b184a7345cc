"""The GPU report finds, survives and tells what it should: limits, crashes, wrong kernels, and what is missing."""

import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from fastconv._problem import ConvProblem

HERE = Path(__file__).parent
BENCHMARKS = HERE.parent.parent / "benchmarks"
DEPTHWISE = "every_direction and float32 and g16"  # a test of three directions of kernels that compile in a second


@pytest.fixture
def imported(monkeypatch):
    """What imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in ("stages", "gpu_page", "gpu_stages", "gpu_check", "device_tests", "machine", "run", "worker"):
        sys.modules.pop(name, None)


@pytest.fixture
def report(tmp_path):
    """Runs the command beside the stand-in, which the given code may change; its status, words, page and records."""

    def run(*arguments, change="", cupy=None, tools=None):
        standin = f"import sys; sys.path.insert(0, {str(HERE)!r}); import standin; standin.install()\n"
        modules = tmp_path / "modules"
        modules.mkdir()
        (modules / "cupy.py").write_text(standin + textwrap.dedent(change) if cupy is None else cupy)
        (modules / "torch.py").write_text("raise ImportError('PyTorch is not here')")
        path = os.pathsep.join([str(tmp_path / "tools"), os.path.dirname(sys.executable), "/usr/bin", "/bin"])
        for name, text in (tools or {}).items():
            tool = tmp_path / "tools" / name
            tool.parent.mkdir(exist_ok=True)
            tool.write_text(textwrap.dedent(text).lstrip())
            tool.chmod(0o755)
        out = tmp_path / "out"
        result = subprocess.run(
            [sys.executable, str(BENCHMARKS / "gpu_report.py"), "--out", str(out), *arguments],
            env={**os.environ, "PYTHONPATH": str(modules), "PATH": path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        page = out / "report.md"
        records = {
            file.stem: {line["item"]: line for line in map(json.loads, file.read_text().splitlines()) if "item" in line}
            for file in out.glob("*.jsonl")
        }
        return result, page.read_text() if page.exists() else "", records

    return run


def section(page, title):
    """What stands under a heading of the page."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL).group(1).strip()


def test_a_report_tells_what_holds_and_how_fast_layers_are(report, tmp_path):
    shapes = tmp_path / "shapes.txt"
    shapes.write_text("n1h6w5c16_k3x3f16_s1x1_d1x1_p1,1,1,1_g16 # depthwise\nn1h6w5c8_k1x1f8_s1x1_d1x1_p0,0,0,0_g1\n")
    arguments = "--stages", "tests,layers", "--tests", DEPTHWISE, "--shapes", str(shapes), "--minutes", "4"
    result, page, records = report(*arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    assert page.startswith("# fastconv on a stand-in for a GPU\n")
    assert "| CuPy | 0 (stand-in) |" in page and "| PyTorch | not installed |" in page
    assert "- tests: 1 ok\n" in section(page, "What holds")
    assert section(page, "What is wrong") == "Nothing that was run."
    assert "float32 beside cuDNN" not in section(page, "What holds"), "without PyTorch there is nothing beside it"
    assert "cuDNN's strict float32: at least 1.5 times as fast: not measured" in section(page, "What was not reached")
    assert len(re.findall(r"^\| forward \| float32 \| n1h6w5", section(page, "Layers"), re.MULTILINE)) == 2
    layer = records["layers"]["forward float32 n1h6w5c8_k1x1f8_s1x1_d1x1_p0,0,0,0_g1"]
    assert layer["flops"] == 2 * 6 * 5 * 8 * 8 and layer["bytes"] == 4 * (2 * 6 * 5 * 8 + 64)
    assert layer["times"]["fastconv"] > 0 and 0 < layer["difference"] < 1e-6
    assert "PyTorch is not here" in (tmp_path / "out" / "layers.log").read_text()


def test_a_kernel_that_gives_wrong_values_is_named(report, tmp_path):
    change = """
        right = standin.RawModule.__init__
        def wrong(self, *, code="", options=(), path=None):
            code = code.replace("const int column = (int)", "const int column = 0 * (int)")
            right(self, code=code, options=options, path=path)
        standin.RawModule.__init__ = wrong
    """
    shapes = tmp_path / "shapes.txt"
    shapes.write_text("n1h6w5c16_k3x3f16_s1x1_d1x1_p1,1,1,1_g16\n")
    arguments = "--stages", "tests,layers", "--tests", DEPTHWISE, "--shapes", str(shapes), "--minutes", "4"
    result, page, records = report(*arguments, change=change)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "- tests" not in section(page, "What holds")
    wrong = section(page, "What is wrong")
    assert "largest difference" in wrong
    assert re.search(r"forward of \(2, 7, 8, 16\) float32 by \(3, 3, 1, 16\), \(\(2, 2\), .*\(1, 1\)\)", wrong)
    assert "`fc_direct DIRECTION=forward ELEMENT=float32 PARTS=1 WIDE=4`" in wrong
    assert "tests/cuda/reproduce.py LAYER --capability 80 --multiprocessors 108" in wrong
    (layer,) = [item for name, item in records["layers"].items() if "n1h6w5" in name]
    assert layer["status"] == "failed" and "wrong values: largest difference" in layer["reason"]
    assert layer["kernels"] == ["fc_direct DIRECTION=forward ELEMENT=float32 PARTS=1 WIDE=4"]
    asked = (
        "reproduce.py n1h6w5c16_k3x3f16_s1x1_d1x1_p1,1,1,1_g16 --direction forward --dtype float32 --precision default"
    )
    assert asked in layer["reason"]


def test_a_crash_ends_one_item_alone(report):
    change = """
        import os
        run = standin.RawKernel.__call__
        def crash(self, *arguments, **keywords):
            if self.entry == "fc_pool":
                os.abort()
            return run(self, *arguments, **keywords)
        standin.RawKernel.__call__ = crash
    """
    expression = "rectifiers or pools_keep"
    result, page, records = report("--stages", "tests", "--tests", expression, "--minutes", "3", change=change)
    assert result.returncode == 1
    outcomes = {name.split("::")[1]: item["status"] for name, item in records["tests"].items()}
    assert outcomes == {
        "test_pools_keep_nan_and_minus_infinity_in_their_windows": "crashed",
        "test_rectifiers_take_unusual_numbers[relu]": "ok",
        "test_rectifiers_take_unusual_numbers[relu6]": "ok",
    }
    assert "(crashed): its process ended with signal SIGABRT" in section(page, "What is wrong")


def test_a_device_that_takes_no_more_work_is_left(report):
    change = """
        run, broken = standin.RawKernel.__call__, []
        def fail(self, *arguments, **keywords):
            if self.entry == "fc_pool":
                broken.append(True)
            if broken:
                raise standin.cuda.runtime.CUDARuntimeError("an illegal memory access was encountered")
            return run(self, *arguments, **keywords)
        def synchronize(self):
            if broken:
                raise standin.cuda.runtime.CUDARuntimeError("an illegal memory access was encountered")
        standin.RawKernel.__call__ = fail
        standin._Stream.synchronize = synchronize
    """
    expression = "rectifiers or pools_keep"
    result, page, records = report("--stages", "tests", "--tests", expression, "--minutes", "3", change=change)
    assert result.returncode == 1
    statuses = {name.split("::")[1][:12]: item["status"] for name, item in records["tests"].items()}
    assert statuses == {"test_pools_k": "failed", "test_rectifi": "ok"}
    assert "CUDARuntimeError: an illegal memory access was encountered" in section(page, "What is wrong")


def test_stages_without_time_are_told(report):
    result, page, _ = report("--minutes", "0.001")
    assert result.returncode == 0, result.stderr
    missed = section(page, "What was not reached")
    for stage in ("overhead", "tests", "layers", "cifar"):
        assert f"- {stage}: time was up after 0 s" in missed
    assert "- memcheck: compute-sanitizer is not installed" in missed


@pytest.mark.parametrize(
    ("cupy", "words"),
    [
        ("raise ImportError('No module named cupy')", "no report: CuPy cannot be imported: No module named cupy\n"),
        (
            f"import sys; sys.path.insert(0, {str(HERE)!r}); import standin; standin.install()\n"
            "def none(number): raise standin.cuda.runtime.CUDARuntimeError('no CUDA-capable device is detected')\n"
            "standin.cuda.runtime.getDeviceProperties = none\n",
            "no report: CuPy finds no device: no CUDA-capable device is detected\n",
        ),
    ],
    ids=["no CuPy", "no device"],
)
def test_without_a_gpu_one_line_says_so(report, cupy, words):
    result, page, _ = report(cupy=cupy)
    assert (result.returncode, result.stdout, result.stderr, page) == (2, "", words, "")


SANITIZER = """
    #!/bin/sh
    tool=$2
    shift 2
    [ "$1" = --report-api-errors ] && shift 2
    [ $tool = initcheck ] || "$@"
    case $tool in
        memcheck) echo "========= COMPUTE-SANITIZER"
                  echo "========= Invalid __global__ write of size 4 bytes"
                  echo "=========     at fc_pointwise+0x10"
                  echo "========= ERROR SUMMARY: 1 error";;
        racecheck) echo "========= COMPUTE-SANITIZER"
                   echo "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)";;
        initcheck) echo "========= Error: the device is not supported"; exit 1;;
        *) echo "========= COMPUTE-SANITIZER"; exit 0;;
    esac
"""


def test_sanitizers_tell_what_they_found(report):
    arguments = "--stages", "memcheck,racecheck,initcheck,synccheck", "--tests", "pools_keep", "--minutes", "4"
    result, page, records = report(*arguments, tools={"compute-sanitizer": SANITIZER})
    assert result.returncode == 1
    verdicts = {
        tool: records[tool][f"what {tool} says"] for tool in ("memcheck", "racecheck", "initcheck", "synccheck")
    }
    assert [item["status"] for item in verdicts.values()] == ["failed", "ok", "failed", "skipped"]
    assert "ERROR SUMMARY: 1 error first: Invalid __global__ write of size 4 bytes" in verdicts["memcheck"]["reason"]
    assert "the device is not supported" in verdicts["initcheck"]["reason"]
    assert "did not come to its summary" in section(page, "What was not reached")
    (test,) = [item for name, item in records["racecheck"].items() if "pools_keep" in name]
    assert test["status"] == "ok" and any(kernel.startswith("fc_pool ") for kernel in test["kernels"])
    assert "- racecheck: 2 ok" in section(page, "What holds") and "memcheck" in section(page, "What is wrong")


def test_a_sanitizer_that_ran_nothing_is_wrong(report):
    arguments = "--stages", "racecheck", "--tests", "no_such_test", "--minutes", "4"
    result, page, _ = report(*arguments, tools={"compute-sanitizer": SANITIZER})
    assert result.returncode == 1
    assert "no test ended well under it" in section(page, "What is wrong")


def test_sanitizers_run_each_kind_of_kernel(imported, tmp_path):
    stages = imported("gpu_stages")
    (tmp_path / "cupy.py").write_text("")  # without it, the tests are left out as a whole
    collected = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "--collect-only", "-q", *stages.sanitized_tests()],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert collected.stdout.count("test_device.py::") == len(stages.SANITIZED), collected.stdout + collected.stderr
    entries = set()
    for test in stages.SANITIZED:
        file, name = test.split("::")
        assert (HERE / file).exists()
        entries |= {entry for entry, sign in KINDS_OF_KERNEL.items() if sign in name}
    assert entries == set(KINDS_OF_KERNEL)


KINDS_OF_KERNEL = {
    "mma of TF32": "float32-n2h9w11c8_k3x3f16_s1x1_d1x1_p1,1,1,1_g1",
    "mma of halves": "float16-n2h9w11c8_k3x3f16_s1x1_d1x1_p1,1,1,1_g1",
    "fc_direct": "_g16",
    "fc_pool": "pools",
    "fc_pointwise": "biases",
    "wgmma": "warpgroups",
}


CHILD = """
import os, sys, time
from pathlib import Path
from stages import Runner, NotHereError
def skip(): raise NotHereError("not here")
def fail(): raise ValueError("three\\nlines\\nof words")
Runner(Path(sys.argv[1])).run({
    "works": lambda: {"figure": 1}, "hangs": lambda: time.sleep(60), "dies": lambda: os._exit(7), "skips": skip,
    "fails": fail, "works again": lambda: None,
})
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """The command of a stage with items of all kinds, and its record."""
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    record = tmp_path / "stage.jsonl"
    return [sys.executable, str(script), str(record)], record


def test_items_that_hang_or_die_are_recorded_and_passed_over(imported, child):
    stages, (command, record) = imported("stages"), child
    grown = []
    assert stages.run_stage(command, record, 120, 8, lambda: grown.append(len(stages.read(record)))) == ""
    found = {item["item"]: item for item in stages.ended(record)}
    assert {name: item["status"] for name, item in found.items()} == {
        "works": "ok",
        "hangs": "crashed",
        "dies": "crashed",
        "skips": "skipped",
        "fails": "failed",
        "works again": "ok",
    }
    assert found["works"]["figure"] == 1
    assert found["hangs"]["reason"].startswith("it did not end within 8 s")
    assert found["dies"]["reason"].startswith("its process ended with exit status 7")
    assert found["fails"]["reason"] == "ValueError: three lines of words"
    assert len(set(grown)) > 3, "figures are to be seen while the stage runs"


def test_a_stage_ends_with_its_time(imported, child):
    stages, (command, record) = imported("stages"), child
    assert stages.run_stage(command, record, 8, 60) == "time was up after 8 s, in hangs"
    assert [item["item"] for item in stages.ended(record)] == ["works"]
    missing = imported("gpu_page").Stage("layers", record, "time was up").missing
    assert missing == ["hangs", "dies", "skips", "fails", "works again"]


def test_a_process_that_cannot_begin_is_told_with_its_last_words(imported, tmp_path):
    stages = imported("stages")
    command = [sys.executable, "-c", "raise RuntimeError('no such library')"]
    why = stages.run_stage(command, tmp_path / "stage.jsonl", 20, 20)
    assert why.startswith("its process ended with exit status 1 before it began an item")
    assert why.endswith("RuntimeError: no such library")


def layer(arithmetic, problem, mine, theirs=None, direction="forward", implementation=None, bytes=3_000_000):
    times = {"fastconv": mine} if theirs is None else {"fastconv": mine, "torch": theirs}
    item = " ".join(filter(None, (direction, arithmetic, implementation, problem)))
    figures = {"direction": direction, "arithmetic": arithmetic, "implementation": implementation, "problem": problem}
    figures |= {"times": times, "failures": {}, "flops": 1e9, "bytes": bytes}
    return {"item": item, "status": "ok", "seconds": 1, **figures}


def test_goals_are_judged_by_what_was_measured(imported, tmp_path):
    gpu_page, stages = imported("gpu_page"), imported("stages")
    dense, depthwise = "n32h8w8c8_k3x3f8_s1x1_d1x1_p1,1,1,1_g1", "n32h8w8c8_k3x3f8_s1x1_d1x1_p1,1,1,1_g8"
    lines = {
        "machine": [{"item": "machine", "status": "ok", "GPU": "X"}],
        "overhead": [
            {"item": "forward", "status": "ok", "host_seconds": 14e-6},
            {"item": "relu", "status": "ok", "host_seconds": 16e-6},
        ],
        "layers": [
            {"item": "limits", "status": "ok", "limits": {"copy_bandwidth": 3e12}},
            layer("float32", dense, 1e-3, 2e-3),
            layer("float32", dense, 1e-3, 1.2e-3, "backprop_input"),
            layer("tf32", dense, 1e-3, 0.8e-3),
            layer("float16", dense, 1e-3, 0.95e-3),
            layer("float16", dense, 1e-3, 0.1e-3, implementation="warpgroup"),  # which nothing chooses
            layer("float32", depthwise, 1.1e-6, 3e-6),
        ],
        "cifar": [{"item": "cifar", "status": "ok", "images_per_second": 12345.6}],
    }
    found = {}
    for name, items in lines.items():
        for item in items:
            stages.append(tmp_path / f"{name}.jsonl", **item)
        found[name] = gpu_page.Stage(name, tmp_path / f"{name}.jsonl", "")
    judged = [holds for _, _, holds in gpu_page.goals(found)]
    assert judged == [True, False, True, True, False]  # float32, TF32, halves, depthwise, calls
    page = gpu_page.page("command", "2026-01-01", found)
    assert "1.55 over 2 layers, worst 1.20" in section(page, "What holds")
    assert "12346 images a second" in section(page, "What holds")
    slow = section(page, "What is slow").splitlines()
    assert "forward 14.0, relu 16.0" in slow[1]
    assert [line.split(":")[0] for line in slow[2:]] == [
        f"- forward float16 warpgroup {dense}",
        f"- backprop_input float32 {dense}",
        f"- forward tf32 {dense}",
    ]
    assert section(page, "What was not reached") == "Everything was."
    assert f"| forward | float16 | {dense} | 1000.0 | 1000.0 | 1.00 |" in section(
        page, "Warpgroups beside single warps"
    )


@pytest.mark.parametrize(
    "token",
    [
        "n2h7w6c4_k3x2f6_s1x1_d1x1_p1,1,1,0_g1",
        "n1h9w8c6_k3x3f4_s2x3_d2x1_p2,1,0,2_g2",
        "n1h5w6c3_k2x2f6_s1x1_d1x1_p0,0,0,0_g3",
    ],
)
@pytest.mark.parametrize("direction", ["forward", "backprop_input", "backprop_filter"])
def test_samples_of_results_are_exact(imported, token, direction):
    check, peers = imported("gpu_check"), imported("peers")
    problem = ConvProblem.parse(token)
    pair = imported("worker").operands(problem, direction, "float64")
    want = getattr(peers.Fastconv(1), direction)(problem, *pair)()
    for place in np.ndindex(want.shape):
        assert check.exact_sum(problem, direction, *pair, place) == pytest.approx(want[place], rel=1e-12, abs=1e-12)


def test_a_layer_is_reproduced_on_the_host():
    command = [
        sys.executable,
        str(HERE / "reproduce.py"),
        "n1h6w5c16_k3x3f16_s1x1_d1x1_p1,1,1,1_g16",
        "--dtype",
        "float32",
    ]
    done = subprocess.run([*command, "--capability", "90", "--multiprocessors", "132"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fc_direct ") and done.stdout.endswith("right\n")


def test_planned_layers_are_those_of_networks(imported):
    stages, run = imported("gpu_stages"), imported("run")
    known = {token for name in ("resnet50", "mobilenetv2", "vgg16") for token in run.read_shapes(name)}
    assert {token for sweep in stages.PLAN for token in sweep.layers} <= known


def test_the_network_is_timed_once_its_losses_agree(imported, tmp_path, monkeypatch):
    stages = imported("gpu_stages")
    example = tmp_path / "example.py"
    example.write_text(
        "import numpy as np\n"
        "def batch(): return np.ones((4, 1)), np.ones(4)\n"
        "def fastconv_step(): return lambda images, labels: 2.0\n"
        "def cupy_step(): return lambda images, labels: 2.0 + OFF\n"
        "OFF = 0.0\n"
    )
    monkeypatch.setattr(stages, "EXAMPLE", example)
    assert stages.cifar()["images_per_second"] > 0
    example.write_text(example.read_text() + "OFF = 0.1\n")
    with pytest.raises(AssertionError, match="Mismatched"):
        stages.cifar()


def test_the_example_gives_the_report_what_it_asks_for(imported):
    import importlib.util

    stages = imported("gpu_stages")
    spec = importlib.util.spec_from_file_location("example", stages.EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    images, labels = example.batch()
    assert images.shape == (128, 24, 24, 3) and images.dtype == np.float32 and len(labels) == 128
    assert callable(example.cupy_step) and callable(example.fastconv_step)
