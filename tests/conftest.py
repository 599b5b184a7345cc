"""What every test file shares: instruction sets, how hypothesis runs, and in which processes tests run."""

import os
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from problems import SUPPORTED

from fastconv._cpu import _core

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# "all": every architecture and more random problems, as .ci/run does; "new": the same, and draws anew.
WHICH = os.environ.get("FASTCONV_TESTS", "")
if WHICH not in ("", "all", "new"):
    raise pytest.UsageError(f"FASTCONV_TESTS={WHICH!r} is not 'all' or 'new'")
settings.register_profile(
    "fastconv",
    deadline=None,
    print_blob=True,
    derandomize=WHICH != "new",
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("fastconv")

# Processes of pytest-xdist, and those that tests start, share the CUDA kernels that they build for the host.
if "STANDIN_FOLDER" not in os.environ:
    KERNELS = tempfile.TemporaryDirectory(prefix="fastconv-kernels-")
    os.environ["STANDIN_FOLDER"] = KERNELS.name


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at its options
def pytest_cmdline_main(config):
    """Runs the whole suite in several processes, where pytest-xdist is installed.

    One more than there are cores, as some tests wait.
    """
    watched = config.option.usepdb or config.option.trace or config.option.capture == "no"
    whole = config.args_source == pytest.Config.ArgsSource.TESTPATHS and not watched
    ours = config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput")
    if ours and whole and config.option.numprocesses is None and config.option.dist == "no":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        config.option.numprocesses = min(4, cores + 1)
        config.option.dist = "loadgroup"


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: needs nothing that other tests of its file leave, so may run anywhere")


def pytest_collection_modifyitems(items):
    """Has one process run all of a file, whose tests share what takes long to make."""
    for item in items:
        if not item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(params=SUPPORTED)
def isa(request):
    """Each instruction set of this CPU in turn."""
    before = _core.instruction_set()
    _core.use_instruction_set(request.param)
    yield request.param
    _core.use_instruction_set(before)
