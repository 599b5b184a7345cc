"""The functions of ``tf.nn``, for NumPy arrays."""

from fastconv.nn.conv import conv2d
from fastconv.nn.gradient import conv2d_backprop_filter, conv2d_backprop_input
from fastconv.nn.transpose import atrous_conv2d_transpose, conv1d_transpose, conv2d_transpose
from fastconv.nn.variants import atrous_conv2d, conv1d, convolution

__all__ = [
    "atrous_conv2d",
    "atrous_conv2d_transpose",
    "conv1d",
    "conv1d_transpose",
    "conv2d",
    "conv2d_backprop_filter",
    "conv2d_backprop_input",
    "conv2d_transpose",
    "convolution",
]
