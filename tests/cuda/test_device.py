"""The tests of the kernels and functions once more, with CuPy itself, where there is a device."""

import importlib
import os

import pytest
from problems import inputs
from standin import forget
from test_cuda_kernels import (
    check,
    test_bias_and_activation_are_fused,
    test_kernels_compute_every_direction,
    test_kernels_compute_random_convolutions,
    test_precision_tells_how_float32_is_multiplied,
    test_results_do_not_depend_on_the_batch,
    test_unusual_numbers_touch_the_outputs_whose_window_holds_them,
)
from test_relatives_on_device import (
    test_functions_give_what_they_give_for_numpy_arrays,
    test_out_is_written,
    test_pools_keep_nan_and_minus_infinity_in_their_windows,
    test_rectifiers_take_unusual_numbers,
)

from fastconv._problem import ConvProblem

__all__ = [
    "test_bias_and_activation_are_fused",
    "test_functions_give_what_they_give_for_numpy_arrays",
    "test_kernels_compute_every_direction",
    "test_kernels_compute_random_convolutions",
    "test_out_is_written",
    "test_pools_keep_nan_and_minus_infinity_in_their_windows",
    "test_precision_tells_how_float32_is_multiplied",
    "test_rectifiers_take_unusual_numbers",
    "test_results_do_not_depend_on_the_batch",
    "test_unusual_numbers_touch_the_outputs_whose_window_holds_them",
]
SHAPES = os.path.join(os.path.dirname(__file__), "..", "..", "benchmarks", "shapes")


@pytest.fixture(scope="module")
def library():
    """CuPy with a device, or a skip that tells what is missing."""
    forget()
    try:
        module = importlib.import_module("cupy")
    except ImportError:
        pytest.skip("CuPy is not installed")
    try:
        module.cuda.Device(0).compute_capability  # noqa: B018
    except module.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no device: {error}")
    yield module
    forget()


def layers():
    """Every layer of the benchmarks, with one image."""
    found = []
    for name in sorted(os.listdir(SHAPES)):
        with open(os.path.join(SHAPES, name)) as file:
            lines = [line.split("#")[0].split() for line in file]
        found += [ConvProblem.parse(words[0])._replace(n=1) for words in lines if words]
    return sorted(set(found))


@pytest.mark.parametrize("problem", layers(), ids=str)
def test_layers_of_networks_are_computed(cupy, problem):
    check(cupy, inputs(problem))
