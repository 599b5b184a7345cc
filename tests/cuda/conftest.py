"""CuPy's stand-in for the tests of this folder alone."""

import importlib

import pytest
from standin import forget


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
    from fastconv._cuda import backend, launch, pointwise, pools

    backend.BACKEND.planner.plans.clear()
    launch.device.cache_clear()
    for cached in (launch.compile_kernel, pointwise._launch, pools._launch):
        cached.cache_clear()
