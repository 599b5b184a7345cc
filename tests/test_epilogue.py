"""Bias and activation: what the functions compute that take them along with a convolution."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import DTYPES, cases, inputs, random_array, run_python

import fastconv
from fastconv import _epilogue, nn, options
from fastconv._problem import ConvProblem

LAYERS = {
    "implicit_gemm": "n2h14w14c40_k3x3f70_s2x2_d1x1_p1,1,1,1_g1",
    "pointwise": "n2h7w7c300_k1x1f64_s1x1_d1x1_p0,0,0,0_g1",
    "depthwise": "n2h20w23c24_k3x3f48_s2x2_d1x1_p0,1,0,1_g24",
    "spatial": "n2h30w50c1_k5x5f4_s1x1_d1x1_p2,2,2,2_g1",
    "kn2row": "n2h20w30c32_k3x3f3_s1x1_d1x1_p1,1,1,1_g1",
    "narrow_groups": "n2h9w9c36_k3x3f36_s1x1_d2x1_p2,2,1,1_g9",
    "per_group": "n2h9w9c60_k3x3f60_s1x1_d1x1_p1,1,1,1_g3",
    "grouped": "n2h9w9c30_k3x3f40_s1x1_d2x2_p2,2,2,2_g2",
}
ACTIVATIONS = {
    "leaky_relu": lambda x: np.where(x < 0, 0.2 * x, x),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def bias_for(case, seed=1):
    return random_array(np.random.default_rng(seed), case.filters.shape[3:], case.input.dtype.name)


def unfused(result, bias, activation, data_format="NHWC"):
    if bias is not None:
        result = nn.bias_add(result, bias, data_format)
    return result if activation is None else getattr(nn, activation)(result)


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("token", LAYERS.values(), ids=LAYERS)
def test_bits_of_bias_and_relu_equal_those_of_the_unfused_sequence(isa, token, dtype, activation):
    case = inputs(ConvProblem.parse(token), dtype)
    for bias in (None, bias_for(case)):
        for threads in (1, 3):
            with options(num_threads=threads):
                fused = nn.conv2d(*case, bias=bias, activation=activation)
                assert fused.tobytes() == unfused(nn.conv2d(*case), bias, activation).tobytes()


@settings(max_examples=60)
@given(case=cases(dtypes=("float32", "float64", "int32")), activation=st.sampled_from(["relu", "relu6"]))
def test_any_geometry_and_layout_with_bias_and_relu(case, activation):
    bias = bias_for(case)
    fused = nn.conv2d(*case, bias=bias, activation=activation)
    assert fused.tobytes() == unfused(nn.conv2d(*case), bias, activation, case.data_format).tobytes()


@settings(max_examples=40)
@given(case=cases(dtypes=("float32", "float64", "int32")))
def test_transposed_convolution_with_bias_also_where_no_window_reaches(case):
    y = nn.conv2d(*case)
    depth = case.input.shape[1 if case.data_format == "NCHW" else 3]
    bias = random_array(np.random.default_rng(2), (depth,), case.input.dtype.name)
    arguments = (y, case.filters, case.input.shape, *case[2:])
    plain = nn.conv2d_transpose(*arguments)
    fused = nn.conv2d_transpose(*arguments, bias=bias, activation="relu")
    assert fused.tobytes() == unfused(plain, bias, "relu", case.data_format).tobytes()


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_rounded_once_after_bias_and_activation(isa, dtype, layout):
    case = inputs(ConvProblem.parse(LAYERS["implicit_gemm"]), dtype)
    bias = bias_for(case)
    x = case.input if layout == "NHWC" else np.ascontiguousarray(case.input.transpose(0, 3, 1, 2))
    padding = case.padding if layout == "NHWC" else [case.padding[i] for i in (0, 3, 1, 2)]
    fused = nn.conv2d(x, case.filters, case.strides, padding, layout, bias=bias, activation="relu")
    wide = [array.astype(np.float32) for array in (x, case.filters, bias)]
    single = nn.conv2d(*wide[:2], case.strides, padding, layout, bias=wide[2], activation="relu")
    assert fused.tobytes() == single.astype(DTYPES[dtype]).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_every_size_of_number(isa, activation, dtype):
    x = np.concatenate([[0.0], np.geomspace(1e-6, 80, 3000)])
    x = np.concatenate([-x, x]).astype(dtype).reshape(1, 1, -1, 1)
    got = nn.conv2d(x, np.ones((1, 1, 1, 1), dtype), 1, "VALID", activation=activation)
    want = ACTIVATIONS[activation](x.astype(np.longdouble)).astype(float)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "relu6"])
def test_activations_of_infinities_and_nan(isa, activation):
    x = np.array([-np.inf, np.inf, np.nan, -200, 200], np.float32).reshape(1, 1, 5, 1)
    got = nn.conv2d(x, np.ones((1, 1, 1, 1), np.float32), 1, "VALID", activation=activation).ravel()
    low, high = {"sigmoid": (0, 1), "tanh": (-1, 1), "relu": (0, np.inf), "relu6": (0, 6)}[activation]
    np.testing.assert_array_equal(got[:3], [low, high, np.nan])
    np.testing.assert_allclose(got[3:], [low, high if np.isfinite(high) else 200], atol=1e-37)


def test_depthwise_convolution_with_bias_and_activation():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 9, 9, 20)), rng.standard_normal((3, 3, 20, 2))
    bias = rng.standard_normal(40)
    fused = nn.depthwise_conv2d(x, w, 1, "SAME", bias=bias, activation="relu6")
    assert fused.tobytes() == nn.relu6(nn.bias_add(nn.depthwise_conv2d(x, w, 1, "SAME"), bias)).tobytes()


def test_reference_adds_bias_and_activation_too():
    case = inputs(ConvProblem.parse(LAYERS["implicit_gemm"]), "int32")
    bias = bias_for(case)
    want = nn.conv2d(*case, bias=bias, activation="relu")
    with options(implementation="reference"):
        np.testing.assert_array_equal(nn.conv2d(*case, bias=bias, activation="relu"), want)


def test_relu_in_place_and_of_types_that_convolutions_do_not_take():
    x = np.array([-1.5, np.nan, 3, -0.0], np.float32)
    assert nn.relu(x, out=x) is x
    np.testing.assert_array_equal(x, np.array([0, np.nan, 3, 0], np.float32))
    np.testing.assert_array_equal(nn.relu6(np.array([-1, 3, 9], np.int8)), np.array([0, 3, 6], np.int8))
    with pytest.raises(ValueError, match="out: overlaps"):
        nn.relu(x[:2], out=x[1:3])


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"bias": np.ones(3)}, ValueError, r"bias: should have shape \(2,\).*has \(3,\)"),
        ({"bias": 1.0}, ValueError, r"bias: should have shape \(2,\)"),
        ({"bias": np.ones((2, 2))}, ValueError, r"bias: should have shape \(2,\)"),
        ({"bias": np.ones(2, complex)}, TypeError, "bias: dtype complex128"),
        ({"activation": "gelu"}, ValueError, "activation: 'gelu' is not one of 'relu'"),
        ({"activation": np.tanh}, ValueError, "activation: "),
    ],
)
def test_bad_bias_or_activation_is_named(keywords, error, message):
    x, w = np.ones((1, 4, 4, 1), np.float32), np.ones((3, 3, 1, 2), np.float32)
    with pytest.raises(error, match=message):
        nn.conv2d(x, w, 1, "SAME", **keywords)


def test_integers_take_relu_only():
    x, w = np.ones((1, 4, 4, 1), np.int32), np.ones((3, 3, 1, 2), np.int32)
    with pytest.raises(TypeError, match="activation: 'tanh' needs a floating dtype"):
        nn.conv2d(x, w, 1, "SAME", activation="tanh")


def test_out_must_not_overlap_the_bias():
    x, w = np.ones((1, 4, 4, 1), np.float32), np.ones((3, 3, 1, 2), np.float32)
    out = np.zeros((1, 4, 4, 2), np.float32)
    with pytest.raises(ValueError, match="out: overlaps"):
        nn.conv2d(x, w, 1, "SAME", bias=out[0, 0, 0], out=out)


def test_batches_and_forked_children_apply_the_epilogue():
    x = np.ones((2, 3, 5, 5, 2), np.float32)
    w = np.full((3, 3, 2, 4), -1, np.float32)
    assert (nn.conv2d(x, w, 1, "SAME", bias=np.full(4, 18.0), activation="relu")[..., 1:4, 1:4, :] == 0).all()
    code = (
        "import os, numpy as np; from fastconv import nn; x = np.full((1, 200, 200, 8), -1, np.float32);"
        "nn.relu(x); pid = os.fork();"
        "\nif not pid: os._exit(int(nn.relu(x).any()))"
        "\nassert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_activations_have_one_order_in_python_c_and_cuda():
    cuda = (Path(fastconv.__file__).parent / "_cuda" / "epilogue.cuh").read_text()
    of_cuda = re.search(r"enum Activation \{ NONE, (.*?) \};", cuda)[1].lower().split(", ")
    c = (Path(__file__).parents[1] / "src" / "kernels" / "epilogue.h").read_text()
    of_c = re.findall(r"FC_(\w+),", re.search(r"enum fc_activation \{(.*?)\}", c, re.S)[1])
    assert tuple(of_cuda) == _epilogue.ACTIVATIONS
    assert [name.lower() for name in of_c[: 1 + len(of_cuda)]] == ["linear", *_epilogue.ACTIVATIONS]
