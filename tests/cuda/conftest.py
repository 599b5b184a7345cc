"""CuPy's stand-in for the tests of this folder alone, and kernels that compile while other tests run."""

import concurrent.futures
import importlib
import multiprocessing
import os

import nvrtc
import pytest
from standin import forget

import fastconv
from fastconv._cuda import planner

FOLDER = os.path.join(os.path.dirname(fastconv.__file__), "_cuda")


def pytest_collection_modifyitems(items):
    """Has the tests of compiled kernels run last."""
    items.sort(key=compiles)


def compiles(item):
    return item.path.name == "test_compile.py" and "architecture" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session", autouse=True)
def compiling(request):
    """For each architecture that a test asks for, its kernels by the jobs that compile them, begun with the session.

    They take minutes of processes with the lowest priority; the compiler does one thing at a time.
    """
    wanted = [item.callspec.params["architecture"] for item in request.session.items if compiles(item)]
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(min(4, os.cpu_count() or 1), context, os.nice, (19,))
    jobs = {}
    for architecture in wanted:
        own = planner.warpgroup_kernels() if architecture.endswith("a") else []
        all_of_them = os.environ.get("FASTCONV_TESTS") or not own
        kernels = own + (planner.all_kernels(int(architecture[3:].removesuffix("a"))) if all_of_them else [])
        jobs[architecture] = {
            pool.submit(
                nvrtc.compiled, os.path.join(FOLDER, kernel.source), (*kernel.options, f"-I{FOLDER}"), architecture
            ): kernel
            for kernel in kernels
        }
    yield jobs
    pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def library():
    """The stand-in in CuPy's place, as a device of compute capability 8.0; test_device.py has CuPy itself."""
    forget()
    module = importlib.import_module("standin")
    module.install()
    module.reset_plans = reset_plans
    yield module
    forget()


@pytest.fixture
def cupy(library):
    """The same, to which no kernel was given yet."""
    if hasattr(library, "settings"):
        library.settings.reset()
        library.launches.clear()
    yield library
    reset_plans()


def reset_plans() -> None:
    """Has the next calls ask the device again."""
    from fastconv._cuda import launch, plans, pointwise, pools

    plans._plans.clear()
    launch.device.cache_clear()
    for cached in (launch.compiled, pointwise._launch, pools._launch):
        cached.cache_clear()
