"""Every function of fastconv.nn gives for CuPy arrays what it gives for NumPy's."""

import importlib.util
import os

import numpy as np
import pytest
from problems import DTYPES, random_array

from fastconv import nn


def draw(dtype, *shape):
    return random_array(np.random.default_rng(sum(shape)), shape, dtype)


def pool_gradient(x, ksize, strides, padding):
    y = nn.max_pool2d(x, ksize, strides, padding)
    return nn.max_pool2d_grad(x, y, y, ksize, strides, padding)


# Each call gets what makes an array of a dtype: NumPy's, or moved to the device.
CALLS = {
    "conv1d": lambda a: nn.conv1d(a(2, 9, 4), a(3, 4, 8), 2, "SAME"),
    "convolution": lambda a: nn.convolution(a(1, 6, 6, 4), a(3, 3, 4, 8)),
    "atrous_conv2d": lambda a: nn.atrous_conv2d(a(1, 9, 9, 4), a(3, 3, 4, 8), 2, "SAME"),
    "conv2d_transpose": lambda a: nn.conv2d_transpose(a(2, 4, 4, 8), a(3, 3, 4, 8), (2, 8, 8, 4), 2),
    "conv1d_transpose": lambda a: nn.conv1d_transpose(a(2, 5, 8), a(3, 4, 8), (2, 10, 4), 2),
    "atrous_conv2d_transpose": lambda a: nn.atrous_conv2d_transpose(
        a(1, 5, 5, 8), a(3, 3, 4, 8), (1, 5, 5, 4), 2, "SAME"
    ),
    "depthwise_conv2d": lambda a: nn.depthwise_conv2d(a(2, 7, 7, 8), a(3, 3, 8, 2), 1, "SAME"),
    "depthwise_conv2d_backprop_input": lambda a: nn.depthwise_conv2d_backprop_input(
        (2, 7, 7, 8), a(3, 3, 8, 1), a(2, 4, 4, 8), 2, "SAME"
    ),
    "depthwise_conv2d_backprop_filter": lambda a: nn.depthwise_conv2d_backprop_filter(
        a(2, 7, 7, 8), (3, 3, 8, 2), a(2, 7, 7, 16), 1, "SAME"
    ),
    "separable_conv2d": lambda a: nn.separable_conv2d(a(1, 6, 6, 8), a(3, 3, 8, 1), a(1, 1, 8, 16), 1, "SAME"),
    "max_pool2d": lambda a: nn.max_pool2d(a(2, 9, 8, 5), 3, 2, "SAME"),
    "max_pool2d NCHW": lambda a: nn.max_pool2d(a(2, 5, 9, 8), 2, 2, "VALID", "NCHW"),
    "max_pool": lambda a: nn.max_pool(a(2, 9, 8, 5), 3, 1, [[0, 0], [1, 2], [2, 0], [0, 0]]),
    "max_pool over channels": lambda a: nn.max_pool2d(a(2, 3, 3, 8), [1, 1, 1, 2], [1, 1, 1, 2], "VALID"),
    "avg_pool2d": lambda a: nn.avg_pool2d(a(2, 9, 8, 5), 3, 2, "SAME"),
    "avg_pool": lambda a: nn.avg_pool(a(2, 9, 8, 5), (2, 3), (3, 1), "VALID"),
    "max_pool2d_grad": lambda a: pool_gradient(a(2, 9, 8, 5), 3, 2, "SAME"),
    "avg_pool2d_grad": lambda a: nn.avg_pool2d_grad((2, 9, 8, 5), a(2, 5, 4, 5), 3, 2, "SAME"),
    "max_pool_with_argmax": lambda a: nn.max_pool_with_argmax(a(2, 9, 8, 5), 3, 2, "SAME")[0],
    "argmax": lambda a: nn.max_pool_with_argmax(a(2, 9, 8, 5), 3, 2, "SAME", include_batch_in_index=True)[1],
    "relu": lambda a: nn.relu(a(3, 5)),
    "relu6": lambda a: nn.relu6(a(3, 5) * a(3, 5)),
    "leaky_relu": lambda a: nn.leaky_relu(a(3, 5)),
    "elu": lambda a: nn.elu(a(3, 5)),
    "silu": lambda a: nn.silu(a(3, 5)),
    "silu, steeper": lambda a: nn.silu(a(3, 5), np.array(2.5)),
    "gelu": lambda a: nn.gelu(a(3, 5)),
    "gelu, approximately": lambda a: nn.gelu(a(3, 5), approximate=True),
    "relu_grad": lambda a: nn.relu_grad(a(3, 5), a(5, 3).T),
    "relu6_grad": lambda a: nn.relu6_grad(a(3, 5), a(5, 3).T),
    "leaky_relu_grad": lambda a: nn.leaky_relu_grad(a(3, 5), a(5, 3).T),
    "elu_grad": lambda a: nn.elu_grad(a(3, 5), a(5, 3).T),
    "silu_grad": lambda a: nn.silu_grad(a(3, 5), a(5, 3).T, 2.5),
    "gelu_grad": lambda a: nn.gelu_grad(a(3, 5), a(5, 3).T),
    "gelu_grad, approximately": lambda a: nn.gelu_grad(a(3, 5), a(5, 3).T, approximate=True),
    "softmax": lambda a: nn.softmax(a(3, 5)),
    "softmax_grad": lambda a: nn.softmax_grad(a(3, 5), a(5, 3).T),
    "bias_add": lambda a: nn.bias_add(a(2, 3, 3, 5), a(5)),
    "bias_add_grad": lambda a: nn.bias_add_grad(a(2, 3, 3, 5)),
    "batch_normalization": lambda a: nn.batch_normalization(a(4, 5), a(5), a(5) * a(5), a(5), a(5), 1e-3),
    "batch_normalization_grad": lambda a: nn.batch_normalization_grad(
        a(4, 5), a(4, 5), a(5), a(5) * a(5), a(5), a(5), 1e-3
    )[0],
    "batch_normalization_grad, scale": lambda a: nn.batch_normalization_grad(
        a(4, 5), a(4, 5), a(5), a(5) * a(5), a(5), a(5), 1e-3
    )[4],
    "local_response_normalization": lambda a: nn.local_response_normalization(a(2, 3, 3, 9), 2),
    "local_response_normalization_grad": lambda a: nn.local_response_normalization_grad(
        a(2, 3, 3, 9), a(2, 9, 3, 3).transpose(0, 2, 3, 1), a(2, 3, 3, 9), 2
    ),
}
INTEGERS = {
    "conv1d", "convolution", "atrous_conv2d", "conv2d_transpose", "conv1d_transpose", "atrous_conv2d_transpose",
    "depthwise_conv2d", "depthwise_conv2d_backprop_input", "depthwise_conv2d_backprop_filter", "separable_conv2d",
    "max_pool2d_grad", "max_pool_with_argmax", "argmax",
    "max_pool2d", "max_pool2d NCHW", "max_pool", "max_pool over channels", "relu", "relu6", "relu_grad", "bias_add",
    "bias_add_grad",
}  # fmt: skip
TOLERANCE = {"float16": 2e-2, "bfloat16": 1e-1, "float32": 1e-4, "float64": 1e-12, "int32": 0}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CALLS)
def test_functions_give_what_they_give_for_numpy_arrays(cupy, name, dtype):
    if dtype == "int32" and name not in INTEGERS:
        pytest.skip("takes no integers")
    want = CALLS[name](lambda *shape: draw(dtype, *shape))
    got = CALLS[name](lambda *shape: cupy.asarray(draw(dtype, *shape)))
    assert isinstance(got, cupy.ndarray)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(got.get().astype(float), want.astype(float), rtol=tolerance, atol=tolerance)


def test_every_function_is_called():
    assert {name.split(",")[0].split(" ")[0] for name in CALLS} | {"conv2d", "conv2d_backprop_input"} | {
        "conv2d_backprop_filter"
    } == set(nn.__all__) | {"argmax"}


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "relu", "elu"])
def test_out_is_written(cupy, name):
    x = cupy.asarray(draw("float32", 2, 9, 8, 5))
    arguments = (3, 2, "SAME") if "pool" in name else ()
    want = getattr(nn, name)(x, *arguments)
    out = cupy.empty(want.shape, np.float32)
    assert getattr(nn, name)(x, *arguments, out=out) is out
    np.testing.assert_array_equal(out.get(), want.get())
    with pytest.raises(TypeError, match="out: expected a CuPy array, got a NumPy array"):
        getattr(nn, name)(x, *arguments, out=want.get())


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint64", "int64"])
def test_pools_take_all_integers(cupy, dtype):
    limits = np.iinfo(dtype)
    x = np.random.default_rng(0).integers(limits.min, limits.max, (2, 6, 7, 3), dtype, endpoint=True)
    x[0, 0, 0], x[0, 1, 1] = limits.max, limits.min
    dy = np.random.default_rng(1).integers(limits.min, limits.max, (2, 3, 3, 3), dtype, endpoint=True)

    def calls(x, dy):
        y = nn.max_pool2d(x, 3, 2, "VALID"), *nn.max_pool_with_argmax(x, 2, 2, "SAME")
        return *y, nn.max_pool2d_grad(x, dy, dy, 2, 2, [[0, 0], [0, 0], [0, 0], [0, 0]])

    for got, want in zip(calls(cupy.asarray(x), cupy.asarray(dy)), calls(x, dy)):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got.get(), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", ["N..C", "NC.."])
def test_biases_are_added_to_any_number_of_elements(cupy, dtype, data_format):
    for count in (1, 7, 16, 33):
        x, bias = draw(dtype, 3, 5, count), draw(dtype, count if data_format == "N..C" else 5)
        want = nn.bias_add(x, bias, data_format)
        value = cupy.asarray(x)
        assert nn.bias_add(value, cupy.asarray(bias), data_format, out=value) is value
        np.testing.assert_array_equal(value.get(), want)


def test_functions_of_elements_are_written_to_operands_and_views(cupy):
    x = draw("float32", 40)
    base = cupy.asarray(x)
    moved = base[1:]  # where runs of 16 bytes are not aligned
    np.testing.assert_allclose(nn.elu(moved).get(), nn.elu(x[1:]), rtol=1e-6)
    nn.leaky_relu(base[:-1], 0.5, out=moved)  # which overlaps
    np.testing.assert_array_equal(base.get(), [x[0], *nn.leaky_relu(x[:-1], 0.5)])
    x = base.get()
    nn.leaky_relu_grad(base, base, 0.5, out=base)
    np.testing.assert_array_equal(base.get(), nn.leaky_relu_grad(x, x, 0.5))


def test_the_cifar_example_trains_alike(cupy, monkeypatch):
    path = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "cifar10_throughput.py")
    spec = importlib.util.spec_from_file_location("cifar10_throughput", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    shapes = {"conv1": (3, 3, 3, 8), "conv2": (3, 3, 8, 16), "dense3": (64, 24), "dense4": (24, 16), "dense5": (16, 10)}
    weights = {name: 0.1 * draw("float32", *shape) for name, shape in shapes.items()}
    weights |= {name + "_bias": draw("float32", shape[-1]) for name, shape in shapes.items()}
    monkeypatch.setattr(example, "initial_weights", lambda: {name: value.copy() for name, value in weights.items()})
    images, labels = draw("float32", 3, 8, 8, 3), np.array([1, 9, 4])
    steps = example.fastconv_step(), example.cupy_step()
    for _ in range(3):
        losses = [step(images, labels) for step in steps]
        np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize("name", ["relu", "relu6"])
def test_rectifiers_take_unusual_numbers(cupy, name):
    x = np.array([-np.inf, np.inf, np.nan, -1, 0, 7], np.float32)
    np.testing.assert_array_equal(getattr(nn, name)(cupy.asarray(x)).get(), getattr(nn, name)(x))


def test_pools_keep_nan_and_minus_infinity_in_their_windows(cupy):
    x = draw("float32", 1, 8, 8, 3)
    x[0, 3, 3, 1] = np.nan
    x[0, :, :, 2] = -np.inf
    want = nn.max_pool2d(x, 2, 2, "SAME")
    np.testing.assert_array_equal(nn.max_pool2d(cupy.asarray(x), 2, 2, "SAME").get(), want)
    dy = draw("float32", 1, 4, 4, 3)
    want = nn.max_pool2d_grad(x, want, dy, 2, 2, "SAME")
    moved = [cupy.asarray(array) for array in (x, nn.max_pool2d(x, 2, 2, "SAME"), dy)]
    np.testing.assert_array_equal(nn.max_pool2d_grad(*moved, 2, 2, "SAME").get(), want)
