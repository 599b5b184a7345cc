"""What the CUDA kernels compute, against exact results: here compiled for the host, in test_device.py on a device."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from problems import (
    DTYPES,
    assert_close,
    assert_gradient_close,
    cases,
    exact,
    gradient,
    inputs,
    magnitude,
    output_gradient,
)

from fastconv import nn, options
from fastconv._problem import ConvProblem

TOKENS = [
    "n2h9w11c8_k3x3f16_s1x1_d1x1_p1,1,1,1_g1",  # 16-byte copies
    "n1h7w9c3_k3x3f8_s2x2_d1x1_p0,1,0,1_g1",  # an image of three channels
    "n1h8w7c5_k2x4f3_s1x1_d1x1_p0,0,0,0_g1",  # odd channels on both sides
    "n2h10w9c16_k1x1f24_s1x1_d1x1_p0,0,0,0_g1",  # pointwise
    "n1h9w9c8_k1x1f8_s2x2_d1x1_p0,0,0,0_g1",  # cells of the input that no window holds
    "n1h11w12c8_k3x3f8_s2x3_d2x1_p3,2,1,4_g1",  # phases with dilations, and pads as large as the window
    "n1h5w6c16_k3x3f16_s1x1_d4x4_p4,4,4,4_g1",  # most taps in the padding
    "n1h6w7c32_k3x3f32_s1x1_d1x1_p1,1,1,1_g2",  # groups of 16 channels
    "n1h6w7c12_k3x3f6_s1x1_d1x1_p1,1,1,1_g3",  # narrow groups
    "n2h7w8c16_k3x3f16_s2x2_d1x1_p0,1,0,1_g16",  # depthwise, 16 bytes at a time
    "n1h6w5c3_k3x2f6_s1x1_d1x2_p1,1,1,1_g3",  # depthwise, with a multiplier
    "n1h1w70c9_k1x5f9_s1x1_d1x1_p0,0,2,2_g1",  # a row
]
PROBLEMS = [ConvProblem.parse(token) for token in TOKENS]
# Twice TF32 neglects up to 2^-22 of a product three times, 12 roundoffs of float32.
SLACK = {"float32": 16.0}


def on_device(cupy, case):
    return case._replace(input=cupy.asarray(case.input), filters=cupy.asarray(case.filters))


def check(cupy, case, directions=("forward", "backprop_input", "backprop_filter")):
    """All directions of a case, computed from arrays of the device."""
    name = case.input.dtype.name
    slack = SLACK.get(name, 1.0)
    given_ = on_device(cupy, case)
    dy = output_gradient(case)
    for direction in directions:
        with described(f"{direction} of {case.input.shape} {name} by {case.filters.shape}, {case[2:]}"):
            if direction == "forward":
                result = nn.conv2d(*given_)
                assert result.dtype == case.input.dtype
                assert_close(result.get(), case, slack)
            else:
                result = gradient(direction, given_, cupy.asarray(dy))
                assert_gradient_close(result.get(), direction, case, dy, slack)
            assert isinstance(result, cupy.ndarray)


@contextlib.contextmanager
def described(text):
    """Has whatever is raised meanwhile say what was computed."""
    try:
        yield
    except Exception as error:
        error.add_note(text)
        raise


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_compute_every_direction(cupy, problem, dtype):
    check(cupy, inputs(problem, dtype))


@pytest.mark.parametrize("precision", ["fast", "strict"])
@pytest.mark.parametrize("problem", PROBLEMS[:2], ids=str)
def test_precision_tells_how_float32_is_multiplied(cupy, problem, precision):
    case = inputs(problem)
    if int(cupy.cuda.Device(0).compute_capability) < 80:
        pytest.skip("older devices have no TF32")
    with options(precision=precision):
        y = nn.conv2d(*on_device(cupy, case)).get()
    error = abs(y - exact(case))
    if precision == "strict":
        assert_close(y, case)
    else:
        assert (error <= 2.0**-10 * magnitude(case)).all()
        assert error.max() > 2.0**-16 * abs(y).max(), "one TF32 number has 11 bits"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "token",
    [
        "n2h9w11c8_k3x3f16_s1x1_d1x1_p1,1,1,1_g1",
        "n1h13w11c72_k3x3f136_s1x1_d1x1_p1,1,1,1_g1",  # several tiles, and steps, on each side
        "n1h9w9c16_k3x3f8_s2x2_d1x1_p0,1,0,1_g1",
        "n1h6w7c48_k3x3f32_s1x1_d2x1_p1,1,1,1_g2",
    ],
)
def test_warpgroups_compute_every_direction(cupy, token, dtype):
    if hasattr(cupy, "settings"):
        cupy.settings.capability = 90
    elif cupy.cuda.Device(0).compute_capability != "90":
        pytest.skip("only Hopper has them")
    with options(implementation="warpgroup"):
        check(cupy, inputs(ConvProblem.parse(token), dtype))


@hypothesis_settings(max_examples=12)
@given(case=cases(dtypes=("float32",), most_channels=20))
def test_kernels_compute_random_convolutions(library, case):
    check(library, case)


@pytest.mark.parametrize("problem", [PROBLEMS[0], PROBLEMS[9]], ids=str)
def test_results_do_not_depend_on_the_batch(cupy, problem):
    case = inputs(problem)
    x, w = cupy.asarray(case.input), cupy.asarray(case.filters)
    whole = nn.conv2d(x, w, *case[2:4]).get()
    np.testing.assert_array_equal(whole[1:], nn.conv2d(x[1:], w, *case[2:4]).get())
    dy = cupy.asarray(output_gradient(case))
    whole = nn.conv2d_backprop_input(x.shape, w, dy, *case[2:4]).get()
    np.testing.assert_array_equal(whole[1:], nn.conv2d_backprop_input((1, *x.shape[1:]), w, dy[1:], *case[2:4]).get())


@pytest.mark.parametrize("precision", ["default", "fast"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, np.finfo(np.float32).max, -3.4e38, 1e-42])
def test_unusual_numbers_touch_the_outputs_whose_window_holds_them(cupy, value, precision):
    x = np.ones((1, 8, 8, 4), np.float32)
    x[0, 3, 3, 1] = value
    w = np.zeros((3, 3, 4, 4), np.float32)
    w[1, 1] = np.eye(4)
    with options(precision=precision):
        y = nn.conv2d(cupy.asarray(x), cupy.asarray(w), 1, "VALID").get()
    np.testing.assert_allclose(y[0, 2, 2, 1], value, rtol=1e-6 if precision == "default" else 1e-3, atol=1e-38)
    y[0, 1:4, 1:4] = 1  # where NaN and infinity times zero are NaN
    assert (y == 1).all()


@pytest.mark.parametrize("activation", [None, "relu", "relu6", "leaky_relu", "silu", "hard_swish", "sigmoid", "tanh"])
@pytest.mark.parametrize("problem", [PROBLEMS[0], PROBLEMS[9]], ids=str)
def test_bias_and_activation_are_fused(cupy, activation, problem):
    case = inputs(problem)
    bias = np.linspace(-9, 9, problem.f).astype(np.float32)
    want = nn.conv2d(*case, bias=bias, activation=activation)
    got = nn.conv2d(*on_device(cupy, case), bias=cupy.asarray(bias), activation=activation)
    np.testing.assert_allclose(got.get(), want, rtol=2e-5, atol=2e-5)
