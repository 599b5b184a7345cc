"""The functions of ``tf.nn``, for NumPy arrays.

Given CuPy arrays wherever they take arrays, they compute on those arrays' device and CuPy's current stream, and return
CuPy arrays. The two kinds do not mix: that is a TypeError.
"""

# Parameters have TensorFlow's names and order, however many they are.

from fastconv.nn._activation import elu, gelu, leaky_relu, relu, relu6, silu
from fastconv.nn._activation_grad import elu_grad, gelu_grad, leaky_relu_grad, relu6_grad, relu_grad, silu_grad
from fastconv.nn._conv import conv2d
from fastconv.nn._depthwise import (
    depthwise_conv2d,
    depthwise_conv2d_backprop_filter,
    depthwise_conv2d_backprop_input,
    separable_conv2d,
)
from fastconv.nn._gradient import conv2d_backprop_filter, conv2d_backprop_input
from fastconv.nn._normalization import (
    batch_normalization,
    batch_normalization_grad,
    bias_add,
    bias_add_grad,
    local_response_normalization,
    local_response_normalization_grad,
)
from fastconv.nn._pool import (
    avg_pool2d,
    avg_pool2d_grad,
    max_pool2d,
    max_pool2d_grad,
    max_pool_with_argmax,
)
from fastconv.nn._pool_nd import avg_pool, max_pool
from fastconv.nn._softmax import softmax, softmax_grad
from fastconv.nn._transpose import atrous_conv2d_transpose, conv1d_transpose, conv2d_transpose
from fastconv.nn._variants import atrous_conv2d, conv1d, convolution

__all__ = [
    "atrous_conv2d",
    "atrous_conv2d_transpose",
    "avg_pool",
    "avg_pool2d",
    "avg_pool2d_grad",
    "batch_normalization",
    "batch_normalization_grad",
    "bias_add",
    "bias_add_grad",
    "conv1d",
    "conv1d_transpose",
    "conv2d",
    "conv2d_backprop_filter",
    "conv2d_backprop_input",
    "conv2d_transpose",
    "convolution",
    "depthwise_conv2d",
    "depthwise_conv2d_backprop_filter",
    "depthwise_conv2d_backprop_input",
    "elu",
    "elu_grad",
    "gelu",
    "gelu_grad",
    "leaky_relu",
    "leaky_relu_grad",
    "local_response_normalization",
    "local_response_normalization_grad",
    "max_pool",
    "max_pool2d",
    "max_pool2d_grad",
    "max_pool_with_argmax",
    "relu",
    "relu6",
    "relu6_grad",
    "relu_grad",
    "separable_conv2d",
    "silu",
    "silu_grad",
    "softmax",
    "softmax_grad",
]


def __dir__() -> list[str]:
    return __all__
