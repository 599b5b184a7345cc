"""How many threads compute, where they come from, and what happens to calls that are forked, refused or interrupted."""

import multiprocessing
import os
import sys
import threading

import pytest
from problems import inputs, run_python

import fastconv
from fastconv import _threads, nn, options
from fastconv._cpu import _core, cost_model
from fastconv._problem import ConvProblem

CASE = inputs(ConvProblem.parse("n2h40w40c32_k3x3f32_s1x1_d1x1_p1,1,1,1_g1"))
needs_openmp = pytest.mark.skipif(not _core.build()["openmp"], reason="this build has no OpenMP")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc, or at libgomp")
# A call that is worth many threads, and its exact result.
SETUP = """
import os, sys, time, numpy as np, fastconv
from fastconv import nn
x, w = np.ones((1, 56, 56, 64), "f4"), np.ones((3, 3, 64, 64), "f4")
def call(threads):
    with fastconv.options(num_threads=threads):
        y = nn.conv2d(x, w, 1, "VALID")
    assert (y == 9 * 64).all()
def threads():
    time.sleep(0.3)  # they are started side by side with the first call
    return set(os.listdir("/proc/self/task"))
"""


def test_set_num_threads_is_process_wide():
    try:
        fastconv.set_num_threads(6)
        assert fastconv.get_num_threads() == 6
        seen = []
        thread = threading.Thread(target=lambda: seen.append(fastconv.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [6]
    finally:
        fastconv.set_num_threads(None)
    for wrong, error in ((0, ValueError), ("2", TypeError), (1.0, TypeError)):
        with pytest.raises(error, match="num_threads"):
            fastconv.set_num_threads(wrong)


def test_small_work_runs_on_one_thread_and_large_on_those_asked_for():
    with options(num_threads=64):
        assert _threads.threads_for(1000) == 1
        assert _threads.threads_for(10**9) == 64
        assert 1 < _threads.threads_for(3 * cost_model.WORTH_A_THREAD) <= 3


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"FASTCONV_NUM_THREADS": "5", "OMP_NUM_THREADS": "3"}, 5),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "7,2"}, 7),
    ],
)
def test_the_environment_sets_the_number_of_threads(environment, expected):
    done = run_python("import fastconv; print(fastconv.get_num_threads())", **environment)
    assert done.stdout.strip() == str(expected), done.stderr


def test_affinity_limits_the_number_of_threads():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no CPU affinity")
    code = "import os; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])\n"
    done = run_python(
        code + "import fastconv; print(fastconv.get_num_threads())", FASTCONV_NUM_THREADS="", OMP_NUM_THREADS=""
    )
    assert done.stdout.strip() == "1", done.stderr


def test_a_malformed_number_of_threads_is_a_warning():
    done = run_python("import fastconv; print(fastconv.get_num_threads())", FASTCONV_NUM_THREADS="many")
    assert int(done.stdout) >= 1
    assert "FASTCONV_NUM_THREADS='many'" in done.stderr


@pytest.mark.parametrize(
    "line, files, quota",
    [
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        ("0::/a", {"a/cpu.max": "max 100000"}, float("inf")),
        (
            "3:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "200000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("3:cpu:/x", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, float("inf")),
        ("5:memory:/x", {}, float("inf")),
    ],
)
def test_control_groups_limit_the_number_of_threads(tmp_path, line, files, quota):
    for name, text in files.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (tmp_path / "membership").write_text(line + "\n")
    assert _threads.cgroup_quota(str(tmp_path / "root"), str(tmp_path / "membership")) == quota
    assert _threads.cgroup_quota(str(tmp_path), str(tmp_path / "none")) == float("inf")


def _in_child(expected):
    return nn.conv2d(*CASE).tobytes() == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_computes_and_does_not_hang():
    with options(num_threads=4):
        expected = nn.conv2d(*CASE).tobytes()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(_in_child, [expected] * 4).get(timeout=60) == [True] * 4
        assert nn.conv2d(*CASE).tobytes() == expected


def test_threads_may_call_at_the_same_time():
    expected = nn.conv2d(*CASE).tobytes()
    wrong = []

    def work():
        for _ in range(20):
            if nn.conv2d(*CASE).tobytes() != expected:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_may_make_the_first_calls_of_a_process():
    done = run_python(
        SETUP + "import threading\n"
        "barrier, done = threading.Barrier(8), []\n"
        "def first():\n    barrier.wait()\n    call(1)\n    done.append(1)\n"
        "all = [threading.Thread(target=first) for _ in range(8)]\n"
        "for thread in all: thread.start()\n"
        "for thread in all: thread.join()\n"
        "print(len(done))"
    )
    assert done.stdout.strip() == "8", done.stderr


@needs_openmp
@needs_linux
def test_calls_share_threads_that_stay():
    done = run_python(
        SETUP + "call(8); first = threads()\n"
        "for count in (2, 8, 5, 3, 8): call(count); assert threads() == first, count\n"
        "call(12); more = threads(); assert first < more\n"
        "call(8); assert threads() == more\n"
    )
    assert done.returncode == 0, done.stderr


@needs_openmp
@needs_linux
@pytest.mark.parametrize("parents_library", ["fastconv", "another library", "none"])
@pytest.mark.parametrize("fork", ["os.fork()", "ctypes.CDLL(None).fork()"])
def test_forked_children_compute_with_threads_of_their_own(parents_library, fork):
    before = {
        "fastconv": SETUP + "call(2)\n",
        # OpenMP's threads as those of another library that uses the same libgomp.
        "another library": "import ctypes, os\n"
        "gomp = ctypes.CDLL('libgomp.so.1', ctypes.RTLD_GLOBAL)\n"
        "body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda data: None)\n"
        "gomp.GOMP_parallel(body, None, 2, 0)\n",
        "none": "",
    }[parents_library]
    done = run_python(
        "import ctypes, os\n" + before + f"child = {fork}\n"
        "if not child:\n" + "".join(f"    {line}\n" for line in SETUP.splitlines()) + "    call(2); call(3)\n"
        "    os._exit(0 if len(threads()) >= 3 else 1)\n"
        "status = os.waitpid(child, 0)[1]\n"
        "assert status == 0, status\n"
        + ("call(2)\n" if parents_library == "fastconv" else "")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@needs_openmp
@needs_linux
def test_a_system_that_refuses_threads_gets_results_from_those_there_are():
    limit = "import resource\nused = int(open('/proc/self/statm').read().split()[0]) * os.sysconf('SC_PAGE_SIZE')\n"
    limit += "resource.setrlimit(resource.RLIMIT_AS, (used + (room << 20),) * 2)\n"
    for room in (20, 40, 80):
        done = run_python(SETUP + f"room = {room}\n" + limit + "call(64); call(64)\nassert len(threads()) < 64")
        assert done.returncode == 0, done.stderr


@needs_openmp
@needs_linux
@pytest.mark.parametrize("name, value", [("OMP_PROC_BIND", "true"), ("OMP_PLACES", "threads"), ("OMP_DYNAMIC", "true")])
def test_openmp_that_binds_threads_leaves_all_cpus_to_calls(name, value):
    plain = {"FASTCONV_NUM_THREADS": "", "OMP_NUM_THREADS": ""}
    code = SETUP + "call(fastconv.get_num_threads()); print(fastconv.get_num_threads())"
    want, got = run_python(code, **plain), run_python(code, **plain, **{name: value})
    assert got.stdout == want.stdout != "", got.stderr


@needs_openmp
def test_limits_of_threadpoolctl_are_honored():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    before = fastconv.get_num_threads()
    with options(num_threads=2):
        assert fastconv.get_num_threads() == 2
        with threadpoolctl.threadpool_limits(1):
            assert fastconv.get_num_threads() == 1
            assert _threads.threads_for(10**9) == 1
    assert fastconv.get_num_threads() == before


def test_a_build_without_openmp_says_one_thread(monkeypatch):
    monkeypatch.setattr(_threads, "_has_openmp", False)
    assert fastconv.get_num_threads() == 1
    assert fastconv.show_config("dicts")["Threads"] == 1
    with options(num_threads=4):
        assert _threads.threads_for(10**9) == 1


@needs_linux
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "call",
    [
        "nn.conv2d(x, w, 1, 'SAME')",
        "nn.conv2d_backprop_input(x.shape, w, x, 1, 'SAME')",
        "nn.conv2d_backprop_filter(x, w.shape, x, 1, 'SAME')",
        "nn.avg_pool2d(x, 41, 1, 'SAME')",
        "nn.max_pool2d(large, 201, 1, 'SAME')",
        "nn.avg_pool2d_grad(large.shape, large, 201, 1, 'SAME')",
        "nn.depthwise_conv2d(x, taps, 1, 'SAME')",
    ],
)
def test_control_c_ends_a_call_long_before_its_end(threads, call):
    done = run_python(
        "import os, signal, threading, time, numpy as np, fastconv\n"
        "from fastconv import nn\n"
        "x, w = np.ones((64, 128, 128, 64), 'f4'), np.ones((15, 15, 64, 64), 'f4')\n"
        "taps, large = np.ones((127, 127, 64, 4), 'f4'), x[:1].repeat(8, 1).repeat(8, 2)\n"
        "pressed = []\n"
        "def press():\n"
        "    pressed.append(time.monotonic())\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Timer(0.3, press).start()\n"
        "y = None\n"
        "try:\n"
        f"    y = {call}\n"
        "except KeyboardInterrupt:\n"
        "    print(time.monotonic() - pressed[0])\n"
        "assert y is None\n"
        "small = np.ones((1, 9, 9, 8), 'f4')\n"
        "assert (nn.conv2d(small, np.ones((3, 3, 8, 8), 'f4'), 1, 'VALID') == 72).all(), 'later calls are whole'\n",
        FASTCONV_NUM_THREADS=str(threads),
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 5, "the whole call takes a minute; a machine without other work answers in 0.1 s"


def test_a_malformed_count_in_the_environment_is_told_once_at_import():
    code = "import fastconv\nprint('imported', flush=True)\nfor _ in range(3): fastconv.get_num_threads()"
    done = run_python(code, FASTCONV_NUM_THREADS="many", PYTHONWARNINGS="always")
    assert done.stderr.count("FASTCONV_NUM_THREADS='many' is not a number of threads; ignored") == 1
