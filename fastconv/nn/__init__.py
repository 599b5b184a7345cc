"""The functions of ``tf.nn``, for NumPy arrays."""

from fastconv.nn.conv import conv2d

__all__ = ["conv2d"]
