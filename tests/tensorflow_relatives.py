"""The relatives of conv2d equal TensorFlow's, in the mode that is set; test_tensorflow.py runs this file in both."""

import itertools
import os

import numpy as np
import pytest
import tensorflow as tf
from problems import random_array

from fastconv import nn

PADDINGS = ["SAME", "VALID", [[0, 0], [1, 2], [0, 1], [0, 0]]]
GRID = list(itertools.product(["float32", "float64"], [1, 2, 3], PADDINGS))


def draw(dtype: str, *shape: int) -> np.ndarray:
    return random_array(np.random.default_rng(sum(shape)), shape, dtype)


def assert_equal(ours, theirs) -> None:
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    if ours.dtype == np.int32:
        assert (ours == theirs).all()
        return
    # TensorFlow adds filter gradients of half precision up in half precision: they are off by 0.2 of 30 and more.
    tolerance = {"float64": 1e-12, "float32": 1e-4, "float16": 0.3, "bfloat16": 2}[ours.dtype.name]
    np.testing.assert_allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=0, atol=tolerance)


def raw(stride: int, padding, dilation: int = 1) -> dict:
    """The arguments of TensorFlow's own gradient kernels."""
    pairs = [] if isinstance(padding, str) else [cells for pair in padding for cells in pair]
    return {
        "strides": [1, stride, stride, 1],
        "padding": "EXPLICIT" if pairs else padding,
        "explicit_paddings": pairs,
        "dilations": [1, dilation, dilation, 1],
    }


@pytest.mark.parametrize("dtype, stride, padding", GRID)
def test_gradients(dtype, stride, padding):
    x, w = draw(dtype, 2, 9, 11, 6), draw(dtype, 3, 2, 6, 5)
    dy = draw(dtype, *tf.nn.conv2d(x, w, stride, padding).shape)
    strides = [1, stride, stride, 1]
    kernels = tf.raw_ops
    theirs = kernels.Conv2DBackpropInput(input_sizes=x.shape, filter=w, out_backprop=dy, **raw(stride, padding))
    assert_equal(nn.conv2d_backprop_input(x.shape, w, dy, strides, padding), theirs)
    theirs = kernels.Conv2DBackpropFilter(input=x, filter_sizes=w.shape, out_backprop=dy, **raw(stride, padding))
    assert_equal(nn.conv2d_backprop_filter(x, w.shape, dy, strides, padding), theirs)


@pytest.mark.parametrize("stride, padding", [(1, "SAME"), (2, "VALID")])
def test_gradients_of_other_dtypes(stride, padding):
    for dtype in ("float16", "bfloat16", "int32"):
        x, w = draw(dtype, 2, 9, 11, 6), draw(dtype, 3, 2, 6, 5)
        dy = draw(dtype, *tf.nn.conv2d(x, w, stride, padding).shape)
        arguments = raw(stride, padding)
        theirs = tf.raw_ops.Conv2DBackpropInput(input_sizes=x.shape, filter=w, out_backprop=dy, **arguments)
        assert_equal(nn.conv2d_backprop_input(x.shape, w, dy, stride, padding), theirs)
        if dtype != "int32":
            theirs = tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=w.shape, out_backprop=dy, **arguments)
            assert_equal(nn.conv2d_backprop_filter(x, w.shape, dy, stride, padding), theirs)


@pytest.mark.skipif(os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0", reason="TensorFlow's Eigen kernels refuse these")
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("groups, dilation", [(3, 1), (1, 2), (2, 2)])
def test_grouped_and_dilated_gradients(groups, dilation, padding):
    x, w = draw("float32", 2, 9, 11, 6), draw("float32", 3, 2, 6 // groups, 12)
    dy = draw("float32", *nn.conv2d(x, w, 1, padding, dilations=dilation).shape)
    arguments = raw(1, padding, dilation)
    theirs = tf.raw_ops.Conv2DBackpropInput(input_sizes=x.shape, filter=w, out_backprop=dy, **arguments)
    assert_equal(nn.conv2d_backprop_input(x.shape, w, dy, 1, padding, dilations=dilation), theirs)
    theirs = tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=w.shape, out_backprop=dy, **arguments)
    assert_equal(nn.conv2d_backprop_filter(x, w.shape, dy, 1, padding, dilations=dilation), theirs)


@pytest.mark.parametrize("dtype, stride, padding", GRID)
def test_depthwise_and_its_gradients(dtype, stride, padding):
    x, w = draw(dtype, 2, 9, 11, 6), draw(dtype, 3, 2, 6, 2)
    strides = [1, stride, stride, 1]
    theirs = tf.nn.depthwise_conv2d(x, w, strides, padding)
    assert_equal(nn.depthwise_conv2d(x, w, strides, padding), theirs)
    dy = draw(dtype, *theirs.shape)
    kernels, arguments = tf.raw_ops, raw(stride, padding)
    theirs = kernels.DepthwiseConv2dNativeBackpropInput(input_sizes=x.shape, filter=w, out_backprop=dy, **arguments)
    assert_equal(nn.depthwise_conv2d_backprop_input(x.shape, w, dy, strides, padding), theirs)
    theirs = kernels.DepthwiseConv2dNativeBackpropFilter(input=x, filter_sizes=w.shape, out_backprop=dy, **arguments)
    assert_equal(nn.depthwise_conv2d_backprop_filter(x, w.shape, dy, strides, padding), theirs)


def test_depthwise_dilation_and_separable():
    x, w, p = draw("float32", 2, 9, 11, 6), draw("float32", 3, 3, 6, 2), draw("float32", 1, 1, 12, 7)
    theirs = tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME", dilations=[2, 3])
    assert_equal(nn.depthwise_conv2d(x, w, 1, "SAME", dilations=(2, 3)), theirs)
    theirs = tf.nn.separable_conv2d(x, w, p, [1, 2, 2, 1], "SAME")
    assert_equal(nn.separable_conv2d(x, w, p, 2, "SAME"), theirs)


@pytest.mark.parametrize("stride, padding", list(itertools.product([1, 2, 3], ["SAME", "VALID"])))
def test_transposes_and_other_spellings(stride, padding):
    x, w = draw("float32", 2, 9, 11, 6), draw("float32", 3, 2, 6, 5)
    small, bank = draw("float32", 2, 5, 4, 3), draw("float32", 3, 3, 7, 3)
    grown = (2, 5 * stride, 4 * stride, 7) if padding == "SAME" else (2, 4 * stride + 3, 3 * stride + 3, 7)
    assert_equal(
        nn.conv2d_transpose(small, bank, grown, stride, padding),
        tf.nn.conv2d_transpose(small, bank, grown, stride, padding),
    )
    sizes = (2, grown[2], 7)
    assert_equal(
        nn.conv1d_transpose(small[:, 0], bank[0], sizes, stride, padding),
        tf.nn.conv1d_transpose(small[:, 0], bank[0], sizes, stride, padding),
    )
    assert_equal(nn.conv1d(x, w[0], stride, padding), tf.nn.conv1d(x, w[0], stride, padding))
    assert_equal(nn.convolution(x, w, stride, padding), tf.nn.convolution(x, w, stride, padding))
    assert_equal(nn.atrous_conv2d(x, w, stride, padding), tf.nn.atrous_conv2d(x, w, stride, padding))
    if padding == "SAME":
        assert_equal(
            nn.atrous_conv2d_transpose(small, bank, (2, 5, 4, 7), stride, padding),
            tf.nn.atrous_conv2d_transpose(small, bank, (2, 5, 4, 7), stride, padding),
        )


POOLS = list(itertools.product([(2, 2), (3, 2), (1, 4)], [1, 2, 3], PADDINGS))


@pytest.mark.parametrize("ksize, stride, padding", POOLS)
def test_pools_and_their_gradients(ksize, stride, padding):
    if not isinstance(padding, str):
        padding = [[0, 0], [0, min(1, ksize[0] - 1)], [ksize[1] - 1, 0], [0, 0]]
    x = draw("float32", 2, 9, 10, 3)
    y = tf.nn.max_pool2d(x, ksize, stride, padding)
    assert_equal(nn.max_pool2d(x, ksize, stride, padding), y)
    assert_equal(nn.max_pool(x, ksize, stride, padding), y)
    dy = draw("float32", *y.shape)
    window, steps = [1, *ksize, 1], [1, stride, stride, 1]
    pairs = [] if isinstance(padding, str) else [cells for pair in padding for cells in pair]
    theirs = tf.raw_ops.MaxPoolGrad(
        orig_input=x, orig_output=y, grad=dy, ksize=window, strides=steps,
        padding="EXPLICIT" if pairs else padding, explicit_paddings=pairs,
    )  # fmt: skip
    assert_equal(nn.max_pool2d_grad(x, y.numpy(), dy, ksize, stride, padding), theirs)
    if pairs:
        return
    value, place = nn.max_pool_with_argmax(x, ksize, stride, padding, include_batch_in_index=True)
    theirs = tf.nn.max_pool_with_argmax(x, ksize, stride, padding, include_batch_in_index=True)
    assert_equal(value, theirs.output)
    np.testing.assert_array_equal(place, theirs.argmax)
    assert_equal(nn.avg_pool2d(x, ksize, stride, padding), tf.nn.avg_pool2d(x, ksize, stride, padding))
    assert_equal(nn.avg_pool(x, ksize, stride, padding), tf.nn.avg_pool2d(x, ksize, stride, padding))
    theirs = tf.raw_ops.AvgPoolGrad(orig_input_shape=x.shape, grad=dy, ksize=window, strides=steps, padding=padding)
    assert_equal(nn.avg_pool2d_grad(x.shape, dy, ksize, stride, padding), theirs)


def test_pool_over_channels():
    x = draw("float32", 2, 3, 4, 6)
    theirs = tf.nn.max_pool2d(x, [1, 1, 1, 3], [1, 1, 1, 3], "VALID")
    assert_equal(nn.max_pool2d(x, [1, 1, 1, 3], [1, 1, 1, 3], "VALID"), theirs)


ELEMENTWISE = {
    "relu": (nn.relu, tf.nn.relu),
    "relu6": (nn.relu6, tf.nn.relu6),
    "leaky_relu": (nn.leaky_relu, tf.nn.leaky_relu),
    "leaky_relu 0.3": (lambda x: nn.leaky_relu(x, 0.3), lambda x: tf.nn.leaky_relu(x, 0.3)),
    "elu": (nn.elu, tf.nn.elu),
    "gelu": (nn.gelu, tf.nn.gelu),
    "gelu approximate": (lambda x: nn.gelu(x, True), lambda x: tf.nn.gelu(x, True)),
    "silu": (nn.silu, tf.nn.silu),
    "silu 1.5": (lambda x: nn.silu(x, 1.5), lambda x: tf.nn.silu(x, 1.5)),
    "softmax": (nn.softmax, tf.nn.softmax),
    "softmax axis": (lambda x: nn.softmax(x, 1), lambda x: tf.nn.softmax(x, 1)),
    "bias_add": (lambda x: nn.bias_add(x, [1, 2, 3]), lambda x: tf.nn.bias_add(x, np.array([1, 2, 3], x.dtype))),
    "bias_add NCHW": (
        lambda x: nn.bias_add(x, np.arange(9.0), "NCHW"),
        lambda x: tf.nn.bias_add(x, np.arange(9.0).astype(x.dtype), "NCHW"),
    ),
    "bias_add_grad": (nn.bias_add_grad, lambda x: tf.raw_ops.BiasAddGrad(out_backprop=x)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_functions_of_elements(name, dtype):
    ours, theirs = ELEMENTWISE[name]
    x = 3 * draw(dtype, 2, 9, 10, 3)
    got, want = ours(x), theirs(x).numpy()
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    tolerance = {"float32": 1e-5, "float64": 1e-12, "float16": 2e-2}[dtype]
    if name == "bias_add_grad" and dtype == "float16":
        tolerance = 0.5  # TensorFlow adds up half precision
    if name.startswith(("leaky_relu", "gelu")) and dtype == "float64":
        tolerance = 1e-6  # TensorFlow's constants are float32
    np.testing.assert_allclose(got.astype(float), want.astype(float), rtol=tolerance, atol=tolerance)


def test_gradients_of_elements():
    x, dy = draw("float32", 2, 5, 6, 4), draw("float32", 2, 5, 6, 4)
    raw_ops = tf.raw_ops
    assert_equal(nn.relu_grad(dy, x), raw_ops.ReluGrad(gradients=dy, features=x))
    assert_equal(nn.relu6_grad(dy, 5 * x), raw_ops.Relu6Grad(gradients=dy, features=5 * x))
    assert_equal(nn.leaky_relu_grad(dy, x), raw_ops.LeakyReluGrad(gradients=dy, features=x))
    y = nn.elu(x)
    assert_equal(nn.elu_grad(dy, y), raw_ops.EluGrad(gradients=dy, outputs=y))
    for ours, theirs in [
        (nn.silu_grad(dy, x, 1.5), lambda x: tf.nn.silu(x, 1.5)),
        (nn.gelu_grad(dy, x), tf.nn.gelu),
        (nn.gelu_grad(dy, x, approximate=True), lambda x: tf.nn.gelu(x, True)),
    ]:
        assert_equal(ours, differentiated(theirs, dy, x)[0])


def differentiated(function, dy, *arguments):
    variables = [tf.constant(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        result = function(*variables)
    return tape.gradient(result, variables, tf.constant(dy))


def test_gradients_of_batch_normalization():
    x, dy = draw("float32", 2, 5, 6, 4), draw("float32", 2, 5, 6, 4)
    mean, offset, scale = (draw("float32", 4) for _ in range(3))
    variance = abs(draw("float32", 4)) + 0.1
    ours = nn.batch_normalization_grad(dy, x, mean, variance, offset, scale, 1e-3)
    theirs = differentiated(lambda *a: tf.nn.batch_normalization(*a, 1e-3), dy, x, mean, variance, offset, scale)
    for mine, other in zip(ours, theirs, strict=True):
        assert_equal(mine, other)


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 9])
def test_normalisation(radius):
    x, dy = draw("float32", 2, 5, 6, 7), draw("float32", 2, 5, 6, 7)
    settings = {"depth_radius": radius, "bias": 1.5, "alpha": 0.3, "beta": 0.75}
    y = tf.nn.local_response_normalization(x, **settings).numpy()
    assert_equal(nn.local_response_normalization(x, **settings), y)
    theirs = tf.raw_ops.LRNGrad(input_grads=dy, input_image=x, output_image=y, **settings)
    assert_equal(nn.local_response_normalization_grad(dy, x, y, **settings), theirs)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    for offset, scale in ((None, None), (mean, variance)):
        theirs = tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-3)
        assert_equal(nn.batch_normalization(x, mean, variance, offset, scale, 1e-3), theirs)
