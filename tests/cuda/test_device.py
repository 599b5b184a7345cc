"""The tests of the kernels and functions once more, with CuPy itself, where there is a device."""

import importlib.util
import os

import numpy as np
import pytest

if importlib.util.find_spec("cupy") is None:
    pytest.skip("CuPy is not installed", allow_module_level=True)

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
    test_warpgroups_compute_every_direction,
)
from test_relatives_on_device import (
    test_biases_are_added_to_any_number_of_elements,
    test_functions_give_what_they_give_for_numpy_arrays,
    test_functions_of_elements_are_written_to_operands_and_views,
    test_out_is_written,
    test_pools_keep_nan_and_minus_infinity_in_their_windows,
    test_pools_take_all_integers,
    test_rectifiers_take_unusual_numbers,
)

from fastconv import nn
from fastconv._problem import ConvProblem

__all__ = [
    "test_bias_and_activation_are_fused",
    "test_biases_are_added_to_any_number_of_elements",
    "test_functions_give_what_they_give_for_numpy_arrays",
    "test_functions_of_elements_are_written_to_operands_and_views",
    "test_kernels_compute_every_direction",
    "test_kernels_compute_random_convolutions",
    "test_out_is_written",
    "test_pools_keep_nan_and_minus_infinity_in_their_windows",
    "test_pools_take_all_integers",
    "test_precision_tells_how_float32_is_multiplied",
    "test_rectifiers_take_unusual_numbers",
    "test_results_do_not_depend_on_the_batch",
    "test_unusual_numbers_touch_the_outputs_whose_window_holds_them",
    "test_warpgroups_compute_every_direction",
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


def test_graphs_run_captured_calls_again(cupy):
    case = inputs(ConvProblem.parse("n8h17w17c8_k3x3f16_s1x1_d1x1_p1,1,1,1_g1"), "float16")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        x, w = cupy.asarray(case.input), cupy.asarray(case.filters)
        y, dw = cupy.empty((8, 17, 17, 16), "f2"), cupy.empty(w.shape, "f2")

        def call():
            nn.conv2d(x, w, 1, "SAME", bias=w[0, 0, 0], out=y)
            nn.conv2d_backprop_filter(x, w.shape, y, 1, "SAME", out=dw)  # in slices, summed in a workspace

        call()  # compiles, plans, and leaves its workspace in the pool
        stream.begin_capture()
        call()
        graph = stream.end_capture()
        others = [cupy.full(1 << size, 0xFF, "u1") for size in range(8, 24)]  # in whatever the pool thinks is free
        x *= 2
        graph.launch(stream)
        got = y.get(), dw.get()
        call()
        for array, again in zip(got, (y, dw)):
            np.testing.assert_array_equal(array, again.get())
        assert all((other == 0xFF).all() for other in others)
