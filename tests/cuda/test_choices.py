"""Which of the kernels are launched, and that their results are the same, beside the stand-in."""

import numpy as np
import pytest
from problems import DTYPES, assert_gradient_close, gradient, inputs, output_gradient
from test_cuda_kernels import PROBLEMS, SLACK, check, on_device

from fastconv import nn, options
from fastconv._problem import ConvProblem


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_of_older_devices_compute_every_direction(cupy, dtype):
    cupy.settings.capability = 75
    check(cupy, inputs(PROBLEMS[0], dtype))


@pytest.mark.parametrize(
    "token", ["n1h16w16c8_k1x1f256_s1x1_d1x1_p0,0,0,0_g1", "n1h16w16c8_k3x3f32_s1x1_d1x1_p1,1,1,1_g1"]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_and_narrow_tiles_compute_the_same(cupy, token, dtype):
    case = inputs(ConvProblem.parse(token), dtype)
    small = nn.conv2d(*on_device(cupy, case)).get()
    options_before = cupy.launches[-1].options
    cupy.reset_plans()
    cupy.settings.multiprocessors = 1  # where larger tiles pay
    check(cupy, case, ("forward", "backprop_filter"))
    large = nn.conv2d(*on_device(cupy, case)).get()
    assert cupy.launches[-1].options != options_before
    np.testing.assert_array_equal(small, large)  # bits depend on no tile's size


def test_warpgroups_are_for_those_who_ask_and_can(cupy):
    case = inputs(PROBLEMS[0], "float16")
    with pytest.raises(ValueError, match="'warpgroup' does not compute"), options(implementation="warpgroup"):
        nn.conv2d(*case)
    cupy.settings.capability = 90
    with options(implementation="warpgroup"):
        nn.conv2d(*on_device(cupy, case))
    assert "-DFC_WARPGROUPS=1" in cupy.launches[-1].options
    for capability, given in ((80, case), (90, inputs(PROBLEMS[0])), (90, inputs(PROBLEMS[1], "float16"))):
        cupy.reset_plans()
        cupy.settings.capability = capability
        nn.conv2d(*on_device(cupy, given))
        assert "-DFC_WARPGROUPS=0" in cupy.launches[-1].options
        refused = pytest.raises(ValueError, match="implementation: 'warpgroup' takes float16 and bfloat16")
        with refused, options(implementation="warpgroup"):
            nn.conv2d(*on_device(cupy, given))


def test_slices_of_pixels_are_summed_in_their_order(cupy):
    case = inputs(ConvProblem.parse("n1h40w40c8_k1x1f8_s1x1_d1x1_p0,0,0,0_g1"))
    dy = output_gradient(case)
    results = [gradient("backprop_filter", on_device(cupy, case), cupy.asarray(dy)).get() for _ in range(2)]
    np.testing.assert_array_equal(*results)
    assert_gradient_close(results[0], "backprop_filter", case, dy, SLACK["float32"])
    entries = [launch.entry for launch in cupy.launches[:2]]
    assert entries == ["fc_implicit_gemm", "fc_sum_slices"]
    assert cupy.launches[0].grid[2] > 1


def test_bias_and_activation_take_no_launch_of_their_own(cupy):
    case = inputs(PROBLEMS[0])
    for activation in ("relu", "tanh"):
        nn.conv2d(*on_device(cupy, case), bias=cupy.asarray(np.zeros(16, np.float32)), activation=activation)
    assert len(cupy.launches) == 2
